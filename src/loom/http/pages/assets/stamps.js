/**
 * The column of times: none, the time of day at which a line arrived, or the time since the start of the stream. Owns
 * the reader's choice, which the browser remembers.
 */

import { $, announce, setText } from "./dom.js";
import { clock, elapsed } from "./format.js";

const KEY = "loom-times";
const MODES = { none: "no times", clock: "time of arrival", elapsed: "time since the start" };
const NAMES = Object.keys(MODES);
const SECOND = 1000; // milliseconds

export class Stamps {
  #mode = localStorage.getItem(KEY);
  #learning = false;

  /** `changed` is called when the column has to be shown again. */
  constructor(source, changed) {
    Object.assign(this, { source, changed });
    if (!(this.#mode in MODES)) this.#mode = "none";
    $("times").addEventListener("click", () => this.#next());
    this.#show();
  }

  get shown() {
    return this.#mode !== "none";
  }

  /** Returns `{text, title}` for a line: undefined without the column, null while the time is unknown. */
  of(line) {
    if (!this.shown) return undefined;
    const { source } = this;
    const arrival = source.arrival(line);
    if (!arrival) return null;
    const text = this.#mode === "clock" ? clock(arrival.time) : elapsed(arrival.time - source.created);
    const [from, to] = [arrival.time, arrival.time + arrival.grain].map((time) => new Date(time).toLocaleString());
    return { text, title: arrival.grain > SECOND ? `Between ${from} and ${to}` : from };
  }

  /** Gets the times that are missing, if they are `needed` elsewhere also without the column. */
  learn({ needed = false } = {}) {
    if (!(this.shown || needed) || this.#learning) return;
    this.#learning = true;
    const learned = (news) => {
      this.#learning = false;
      if (news) this.changed();
    };
    this.source.learnTimes().then(learned, () => learned(false));
  }

  #next() {
    this.#mode = NAMES[(NAMES.indexOf(this.#mode) + 1) % NAMES.length];
    localStorage.setItem(KEY, this.#mode);
    announce(`Lines have ${MODES[this.#mode]}`, { quiet: true });
    this.#show();
    this.changed();
  }

  #show() {
    $("times").setAttribute("aria-pressed", String(this.shown));
    setText($("times"), this.#mode === "elapsed" ? "Elapsed" : "Times");
  }
}
