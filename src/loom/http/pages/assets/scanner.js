/**
 * Finds the marks of a stream's lines, in order: those of bytes that the page gets anyway by itself, those of the parts
 * that the page skips through the server, which searches them. Owns how far the outline is complete.
 */

import { pause, request } from "./api.js";
import { Lines } from "./lines.js";
import { MARKED, marksOf } from "./markers.js";
import { objectsOf } from "./ndjson.js";

const RETRY = 3000; // milliseconds
const LOST = [404, 410, 412];

export class Scanner {
  #lines = new Lines();
  #waiting = []; // marks and skipped parts, in order, while a skipped part is searched
  #busy = false;

  /** `changed` is called after marks have been added to the outline. */
  constructor(path, outline, changed) {
    Object.assign(this, { path, outline, changed });
  }

  /** True while a part that was skipped is searched. */
  get busy() {
    return this.#busy;
  }

  /** Takes the next bytes of the stream. */
  feed(bytes) {
    this.#examine(this.#lines.feed(bytes));
  }

  /** Continues at the start of a line after a part that the page does not read. */
  skip(line, offset) {
    this.#waiting.push({ from: this.#lines.offset, to: offset });
    this.#lines = new Lines(line, offset);
    this.#work();
  }

  /** Examines the last line, which has no end. */
  finish() {
    this.#examine(this.#lines.finish());
  }

  #examine(lines) {
    let found = false;
    for (const { line, offset, text } of lines) {
      const marks = marksOf(text);
      if (!marks.length) continue;
      found = true;
      if (this.#busy) this.#waiting.push({ line, offset, marks });
      else this.outline.add(line, offset, marks);
    }
    if (found && !this.#busy) this.changed();
  }

  async #work() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#waiting.length) {
      const next = this.#waiting.shift();
      if (next.marks) this.outline.add(next.line, next.offset, next.marks);
      else await this.#search(next);
    }
    this.#busy = false;
    this.changed();
  }

  /** Lets the server search bytes [from, to), and tries again where it was cut off. */
  async #search({ from, to }) {
    const query = `grep=${encodeURIComponent(MARKED)}&notail`;
    let known = -1; // the offset of the last line found
    for (let at = from; at < to && !this.outline.full; ) {
      const stop = new AbortController();
      try {
        const { body } = await request(`${this.path}?${query}&offset=${at}`, { signal: stop.signal });
        for await (const found of objectsOf(body)) {
          if (found.offset >= to || found.ended === "end" || this.outline.full) return;
          if (found.line === undefined) at = found.next ?? to;
          else if (found.offset > known) {
            known = found.offset;
            this.outline.add(found.line, known, marksOf(found.text));
            this.changed();
          }
          if (found.ended === "failed" || found.ended === "stopped") await pause(RETRY);
        }
      } catch (error) {
        if (LOST.includes(error.status)) return;
        await pause(RETRY);
      } finally {
        stop.abort();
      }
    }
  }
}
