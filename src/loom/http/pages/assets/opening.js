/**
 * Where the page begins to show a stream: at the line in its address, at the first error of a failed one, at the end of
 * a live one, else at the start. Owns that decision until it is made, or the reader moves.
 */

import { announce } from "./dom.js";
import { FINAL } from "./header.js";

export class Opening {
  #target = null; // the line to show as soon as it exists
  #placed = false; // whether the first line to show is known

  constructor(source, output, known) {
    Object.assign(this, { source, output, known });
  }

  /** Shows a line as soon as it exists. */
  go(line) {
    this.#target = line;
    if (this.source.lines >= line) this.grow();
    else if (this.#placed) announce(`Line ${line} does not exist yet`);
  }

  /** Shows the line that was waited for, once there are enough lines. */
  grow() {
    if (!this.#target || this.source.lines < this.#target) return;
    const line = this.#target;
    this.#target = null;
    this.#placed = true;
    this.output.show(line);
  }

  /** Decides, as soon as enough is known of the stream. */
  decide() {
    if (this.#placed || !this.known.caught) return;
    const { view, errors, sections } = this.output;
    const { state } = this.known;
    if (this.#target || view.touched) this.#placed = true;
    else if (!this.#failed) {
      this.#placed = true;
      if (!FINAL.includes(state)) view.follow(true);
    } else if (sections.outline.errors.length) {
      this.#placed = true;
      errors.go(sections.outline.errors[0]);
    } else if (!sections.scanner.busy) {
      // Whatever went wrong, it was at the end.
      this.#placed = true;
      view.page(Infinity);
    }
  }

  get #failed() {
    return this.known.state === "aborted" || this.known.outcome === "failure";
  }
}
