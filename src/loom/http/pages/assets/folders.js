/**
 * The folders of ids: where the list is, as breadcrumbs, and the folders under it with their counts and what came to
 * their newest streams.
 */

import { getJson } from "./api.js";
import { $, h } from "./dom.js";
import { age, count, since } from "./format.js";
import { pill } from "./outcome.js";

const FEW = 8; // folders shown until the reader wants all
export const COUNTED = 10_000; // the server counts no further

/** Formats a count of the server. */
export const total = (number) => count(number) + (number >= COUNTED ? "+" : "");

export class Folders {
  #all = false;
  #found = { folders: [], count: 0 };

  constructor(prefix) {
    this.prefix = prefix;
    const parts = prefix.split("/").slice(0, prefix.endsWith("/") ? -1 : undefined);
    const links = parts.map((part, at) => [part, parts.slice(0, at + 1).join("/") + (at < parts.length - 1 || prefix.endsWith("/") ? "/" : "")]);
    const crumbs = [["All streams", ""], ...(prefix ? links : [])].map(([name, path], at, every) =>
      h("li", {}, h("a", { href: hrefOf(path), "aria-current": at === every.length - 1 ? "page" : null }, name)),
    );
    $("crumbs").replaceChildren(...crumbs);
    $("all").addEventListener("click", () => ((this.#all = !this.#all), this.#show()));
  }

  /** The number of streams under the prefix. */
  get count() {
    return this.#found.count;
  }

  /** Requests the folders and shows them. */
  async load(signal) {
    this.#found = await getJson(`/folders?${new URLSearchParams({ prefix: this.prefix })}`, { signal });
    this.#show();
  }

  /** Shows the folders, or hides them while a filter looks through all of them. */
  hide(hidden) {
    this.hidden = hidden;
    this.#show();
  }

  #show() {
    const { folders } = this.#found;
    const focused = document.activeElement?.closest?.(".folder")?.getAttribute("href");
    $("folders").hidden = this.hidden || !folders.length;
    $("cards").replaceChildren(...(this.#all ? folders : folders.slice(0, FEW)).map((folder) => this.#card(folder)));
    if (focused) $("cards").querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
    $("all").hidden = folders.length <= FEW;
    $("all").textContent = this.#all ? "Show fewer" : `Show all ${count(folders.length)} folders`;
    $("all").setAttribute("aria-expanded", String(this.#all));
  }

  #card({ prefix, count: streams, failures, newest }) {
    const created = Date.parse(newest.created);
    const when = h("time", { datetime: newest.created, title: new Date(created).toLocaleString(), ...since(created) }, age(created, Date.now()));
    return h("li", {}, h("a", { class: "folder", href: hrefOf(prefix) },
      h("span", { class: "name" }, h("bdi", {}, prefix.slice(this.prefix.lastIndexOf("/") + 1))),
      h("span", { class: "many" }, failures > 0 && h("b", {}, `${count(failures)} failed`), total(streams)),
      h("span", { class: "newest", title: `The newest stream: ${newest.id}` }, pill(newest), h("span", { class: "leaf" }, newest.id.slice(prefix.length))), when,
    ));
  }
}

/** Returns the address of the list of a folder. */
export function hrefOf(prefix) {
  return prefix ? `/ui/?${new URLSearchParams({ in: prefix })}` : "/ui/";
}
