/**
 * The other streams of the folder: `builds/42/test` beside `builds/42/lint`. Owns the list of them.
 */

import { getJson } from "./api.js";
import { $, h } from "./dom.js";
import { ACTIVE } from "./filter.js";
import { amount, bytes, pathOf, span } from "./format.js";
import { pill } from "./outcome.js";

const MOST = 100; // streams in the list
const REFRESH = 5000; // milliseconds between two requests for the sizes of live streams
const SETTLE = 200; // milliseconds for which changes are gathered
const KEY = "loom-siblings";

/** Returns the folder of an id, with its slash; empty if it has none. */
export const folderOf = (id) => id.slice(0, id.lastIndexOf("/") + 1);

export class Siblings {
  #rows = [];
  #more = false;
  #settling = 0;
  #started = false;

  /** `open(id)` shows a stream beside this one. */
  constructor(id, open) {
    Object.assign(this, { id, open, folder: folderOf(id) });
    $("siblings-hide").addEventListener("click", () => this.toggle());
  }

  /** Shows the list, once the page may read. Does nothing if it is shown already. */
  start() {
    if (this.#started || !this.folder) return;
    this.#started = true;
    this.#load();
    setInterval(() => document.hidden || (this.#rows.some((row) => ACTIVE.includes(row.state)) && this.#load()), REFRESH);
  }

  /** Takes an event of any stream. */
  hear({ name, row }) {
    if (!this.#started || (row && !row.id.startsWith(this.folder))) return;
    const at = this.#rows.findIndex((known) => known.key === row?.key);
    if (name === "changed" || name === "closed") {
      if (at < 0) return;
      this.#rows[at] = row;
      this.#show();
    } else {
      clearTimeout(this.#settling);
      this.#settling = setTimeout(() => this.#load(), SETTLE);
    }
  }

  /** Opens the next or the previous stream of the list. */
  step(by) {
    const at = this.#rows.findIndex((row) => row.id === this.id);
    const row = at < 0 ? null : this.#rows[at + by];
    if (row) location.assign(pathOf(row.id));
  }

  /** Shows or hides the list; the browser remembers it. */
  toggle() {
    localStorage.setItem(KEY, localStorage.getItem(KEY) === "hidden" ? "shown" : "hidden");
    this.#show();
  }

  async #load() {
    const query = new URLSearchParams({ prefix: this.folder, limit: MOST });
    const { streams, cursor } = await getJson(`/streams?${query}`).catch(() => ({}));
    if (!streams) return; // the follower reports a lost server
    this.#rows = streams.reverse(); // in the order of their creation
    this.#more = cursor !== null;
    this.#show();
  }

  #show() {
    const rows = this.#rows;
    $("siblings").hidden = rows.length < 2 || localStorage.getItem(KEY) === "hidden";
    if ($("siblings").hidden) return;
    const list = h("a", { href: `/ui/?${new URLSearchParams({ filter: this.folder })}`, class: "folder" }, this.folder);
    $("siblings-folder").replaceChildren(list);
    const focused = document.activeElement?.closest?.("#siblings-list a")?.pathname;
    $("siblings-list").replaceChildren(...rows.map((row) => this.#item(row)));
    const links = [...$("siblings-list").querySelectorAll("a")];
    links.find((link) => link.pathname === focused)?.focus();
    links.find((link) => link.ariaCurrent)?.scrollIntoView({ block: "nearest", inline: "nearest" });
    const live = rows.filter((row) => ACTIVE.includes(row.state)).length;
    $("siblings-foot").replaceChildren(
      this.#more ? h("span", {}, `the newest ${MOST}`) : "",
      live ? h("a", { href: pathOf(this.folder, "/ui/live/") }, `${amount(live, "live stream")} in one view`) : "",
    );
  }

  #item(row) {
    const here = row.id === this.id;
    const name = row.id.slice(this.folder.length);
    const lasted = row.ended ? span((Date.parse(row.ended) - Date.parse(row.created)) / 1000) : "";
    const link = h(
      "a",
      { href: pathOf(row.id), title: row.id, "aria-current": here ? "page" : null },
      h("span", { class: "name" }, name),
      h("span", { class: "line" }, pill(row), h("span", { class: "grow" }), lasted && `${lasted} · `, bytes(row.size)),
    );
    const beside = { type: "button", class: "beside", title: "Show beside", "aria-label": `Show ${name} beside`, onclick: () => this.open(row.id) };
    return h("li", {}, link, here ? null : h("button", beside, "◫"));
  }
}
