/**
 * The output of a stream: its visible lines, how they are shown, and whether they are text at all. Owns the view, the
 * search and the choices of the reader.
 */

import { getBytes } from "./api.js";
import { isBinary } from "./binary.js";
import { showBytes } from "./bytes.js";
import { $ } from "./dom.js";
import { Finder } from "./finder.js";
import { FINAL } from "./header.js";
import { rowOf } from "./row.js";
import { Stamps } from "./stamps.js";
import { View } from "./view.js";

export class Output {
  picked = null; // the selected lines
  #raw = false;
  #kind = ""; // text or binary
  #edition = 0; // rises when all rows must be created again

  constructor(path, source, known) {
    Object.assign(this, { path, source, known });
    this.view = new View({ scroller: $("log"), space: $("space"), layer: $("layer") }, (number) => this.#row(number));
    this.view.onfollow = () => this.showFollowing();
    this.view.onmove = (first, last) => this.#moved(first, last);
    this.finder = new Finder({
      stream: () => ({ path, size: source.size, final: FINAL.includes(known.state) }),
      show: (line) => this.view.goTo(line, { always: false }),
      top: () => this.view.seen[0],
      redraw: () => this.#restyle(),
    });
    $("search").addEventListener("click", () => this.finder.open());
    $("follow").addEventListener("click", () => this.view.follow(true));
    this.stamps = new Stamps(source, () => this.view.update());
    toggle("raw", (on) => ((this.#raw = on), this.#restyle()));
    toggle("wrap", (on) => {
      this.view.wrap = on;
      $("log").classList.toggle("wraps", on);
      this.view.redraw();
    });
  }

  /** Shows the lines that the source has now. */
  grow() {
    this.view.total = this.source.lines;
    this.view.update();
    if (!this.#kind && this.source.size) this.#look();
    this.finder.grow();
  }

  showFollowing() {
    const { following } = this.view;
    $("follow").hidden = following || FINAL.includes(this.known.state) || this.#kind === "binary";
    $("follow").setAttribute("aria-pressed", String(following));
  }

  /** Decides by the first bytes whether the stream is text. */
  async #look() {
    this.#kind = "text";
    const start = await getBytes(this.path, 0, 64 << 10).catch(() => null);
    if (!start) this.#kind = ""; // the server is lost: decide once it is back
    if (!start || !isBinary(start)) return;
    this.#kind = "binary";
    $("log").hidden = true;
    showBytes($("binary"), { start, known: this.known, source: this.source }, () => {
      $("binary").hidden = true;
      $("log").hidden = false;
      this.view.redraw();
    });
  }

  /** Returns a row of the view. */
  #row(number) {
    const { source, picked } = this;
    const line = source.line(number);
    const time = this.stamps.of(number);
    const chosen = picked !== null && number >= picked[0] && number <= picked[1];
    const marks = this.finder.marks(number);
    const key = `${this.#edition} ${line ? line.text.length + line.hidden : "-"} ${time && time.text} ${chosen} ${marks.current}`;
    return { key, make: () => rowOf(number, line, { raw: this.#raw, time, picked: chosen, ...marks }) };
  }

  #restyle() {
    this.#edition += 1;
    this.view.update();
  }

  #moved(first, last) {
    this.source.want(Math.max(1, first - 20), last + 20);
    $("layer").style.setProperty("--digits", String(this.source.lines).length);
    this.stamps.learn();
  }
}

function toggle(name, set) {
  $(name).addEventListener("click", () => {
    const on = $(name).getAttribute("aria-pressed") !== "true";
    $(name).setAttribute("aria-pressed", String(on));
    set(on);
  });
}
