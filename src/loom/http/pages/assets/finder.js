/**
 * The search bar: the pattern, n of N, next and previous. Owns the bar, and the search in the page's address; Search has
 * the server search.
 */

import { $, announce, setText } from "./dom.js";
import { bytes, count } from "./format.js";
import { parseFragment } from "./fragment.js";
import { findIn } from "./pattern.js";
import { Search } from "./search.js";

const SETTLE = 200; // milliseconds after the last key press
const on = (id) => $(id).getAttribute("aria-pressed") === "true";
const options = () => ({ regex: on("regex"), exact: on("exact") });

export class Finder {
  search = null;
  match = -1;
  #timer = 0;
  #jump = false;

  /** `stream()` returns `{path, size, open}`, `top()` the line at the top; `show(line)` scrolls to a match. */
  constructor({ stream, show, top, redraw }) {
    Object.assign(this, { stream, show, top, redraw });
    $("find").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.begin(), SETTLE);
    });
    $("find").addEventListener("keydown", (event) => this.#key(event));
    for (const id of ["exact", "regex"]) {
      $(id).addEventListener("click", () => {
        $(id).setAttribute("aria-pressed", String(!on(id)));
        this.begin();
      });
    }
    $("find-next").addEventListener("click", () => this.step(1));
    $("find-previous").addEventListener("click", () => this.step(-1));
    $("find-close").addEventListener("click", () => this.close());
  }

  /** Begins the search in the address, if it has one. Lines in the address stay where they are shown. */
  fromAddress() {
    const query = new URLSearchParams(location.search);
    $("find").value = query.get("find") ?? "";
    if (!$("find").value) return;
    for (const id of ["exact", "regex"]) $(id).setAttribute("aria-pressed", String(query.has(id)));
    $("finder").hidden = false;
    this.begin({ jump: !parseFragment(location.hash).lines });
  }

  open() {
    $("finder").hidden = false;
    $("find").focus();
    $("find").select();
  }

  close() {
    $("finder").hidden = true;
    this.#end();
    this.#keep("");
    this.redraw();
    $("log").focus();
  }

  /** Starts a search for the pattern in the bar. With `jump`, the first match is shown. */
  begin({ jump = true } = {}) {
    this.#end();
    const text = $("find").value;
    this.#keep(text);
    if (text) {
      this.search = new Search(this.stream().path, text, options(), () => this.#changed());
      this.#jump = jump;
      this.grow();
    }
    this.redraw();
  }

  /** Continues after the stream has grown or ended. */
  grow() {
    if (!this.search) return;
    const { search } = this;
    const { size, open } = this.stream();
    // The error of a search that has been replaced is its end, and the bar reports the new one.
    search.run(size, open).catch((error) => search === this.search && setText($("found"), error.message));
  }

  /** Returns what to mark in a line, for rowOf: `{find, current}`. */
  marks(line) {
    if (!this.search) return {};
    const here = this.match >= 0 && this.search.lines[this.match] === line;
    return {
      find: (text) => findIn(this.search.marker, text),
      current: here ? this.search.placeInLine(this.match) : -1,
    };
  }

  /** The line of the current match, undefined if there is none. */
  get line() {
    return this.search?.lines[this.match];
  }

  /** Moves to the next or the previous match. */
  step(by) {
    const { search } = this;
    if (!search) return this.open();
    if (!search.lines.length) return announce("No match");
    const all = search.lines.length;
    this.match = this.match < 0 ? search.firstFrom(this.top()) : (this.match + by + all) % all;
    this.#report();
    this.show(search.lines[this.match]);
    this.redraw();
    announce(`Match ${this.match + 1} of ${search.count}, line ${search.lines[this.match]}`, { quiet: true });
  }

  #key(event) {
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter") {
      clearTimeout(this.#timer);
      const same = this.search?.is($("find").value, options());
      if (same) this.step(event.shiftKey ? -1 : 1);
      else this.begin();
    } else return;
    event.preventDefault();
  }

  /** Puts the search into the address. */
  #keep(text) {
    const query = new URLSearchParams(location.search);
    for (const name of ["find", "exact", "regex"]) query.delete(name);
    if (text) query.set("find", text);
    for (const id of ["exact", "regex"]) if (text && on(id)) query.set(id, "");
    const search = String(query).replace(/=(?=&|$)/g, "");
    history.replaceState(null, "", location.pathname + (search && `?${search}`) + location.hash);
  }

  #changed() {
    if (this.#jump && this.search.lines.length) {
      this.#jump = false;
      this.step(1);
    }
    this.#report();
  }

  #report() {
    const { search } = this;
    const { size } = this.stream();
    const busy = !search.full && size - search.searched > 1 << 20;
    const place = this.match < 0 ? "" : `${count(this.match + 1)} / `;
    const rest = search.full ? "+" : busy ? ` (${bytes(search.searched)} of ${bytes(size)})` : "";
    setText($("found"), search.count ? `${place}${count(search.count)}${rest}` : busy ? `searching${rest}` : "no match");
  }

  #end() {
    this.search?.end();
    this.search = null;
    this.match = -1;
    setText($("found"), "");
  }
}
