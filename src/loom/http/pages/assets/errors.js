/**
 * The errors of a stream: their number in the bar, and the steps from one to the next. Owns which one is current.
 */

import { $, announce, setText } from "./dom.js";
import { amount } from "./format.js";

export class Errors {
  show = () => {}; // selects a line and scrolls to it
  #current = 0; // the line of the error that was shown last

  /** `seen()` returns the visible lines [first, last]. */
  constructor(outline, seen) {
    Object.assign(this, { outline, seen });
    $("errors").addEventListener("click", () => this.step(1));
  }

  /** Shows how many there are. */
  report() {
    const { errors, warnings, full } = this.outline;
    $("errors").hidden = !errors.length && !warnings;
    $("errors").classList.toggle("none", !errors.length);
    const parts = [errors.length && amount(errors.length, "error"), warnings && amount(warnings, "warning")];
    setText($("errors"), parts.filter(Boolean).join(", ") + (full ? " and more" : ""));
  }

  /** Moves to the next or the previous error. */
  step(by) {
    const { errors } = this.outline;
    if (!errors.length) return announce("No error");
    const [first, last] = this.seen();
    // If the reader has scrolled away from the current one, the next one is that after the visible lines' start.
    const from = this.#current >= first && this.#current <= last ? this.#current : by > 0 ? first - 1 : last + 1;
    const next = by > 0 ? errors.findIndex((line) => line > from) : errors.findLastIndex((line) => line < from);
    const at = next < 0 ? (by > 0 ? 0 : errors.length - 1) : next;
    this.go(errors[at]);
    announce(`Error ${at + 1} of ${errors.length}, line ${errors[at]}`, { quiet: true });
  }

  /** Shows the error at a line. */
  go(line) {
    this.#current = line;
    this.show(line);
  }
}
