/**
 * Finds the marks of a stream's lines, in order: those of bytes that the page gets anyway by itself, those of the parts
 * that the page skips through the server, which searches them. Owns how far the outline is complete.
 */

import { pause, request } from "./api.js";
import { endsOf } from "./blocks.js";
import { MARKED, marksOf } from "./markers.js";

const LONGEST = 4096; // bytes of a line that are examined
const RETRY = 3000; // milliseconds
const LOST = [404, 410, 412];

const decoder = new TextDecoder();

export class Scanner {
  #line = 1; // the unfinished line
  #offset = 0; // where it begins
  #rest = new Uint8Array(); // its first bytes
  #length = 0; // all of its bytes
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
    const ends = endsOf(bytes);
    let found = false;
    if (ends.length) {
      const texts = [this.#unfinished(bytes.subarray(0, ends[0] - 1))];
      if (ends.length > 1) texts.push(...decoder.decode(bytes.subarray(ends[0], ends.at(-1) - 1)).split("\n"));
      const start = this.#offset + this.#length;
      for (const [at, text] of texts.entries()) {
        const marks = marksOf(text);
        if (marks.length) this.#mark(this.#line + at, at ? start + ends[at - 1] : this.#offset, marks);
        found ||= marks.length > 0;
      }
      this.#begin(this.#line + ends.length, start + ends.at(-1));
    }
    this.#rest = joined(this.#rest, bytes.subarray(ends.at(-1) ?? 0));
    this.#length += bytes.length - (ends.at(-1) ?? 0);
    if (found && !this.#busy) this.changed();
  }

  /** Continues at the start of a line after a part that the page does not read. */
  skip(line, offset) {
    this.#waiting.push({ from: this.#offset, to: offset });
    this.#begin(line, offset);
    this.#work();
  }

  /** Examines the last line, which has no end. */
  finish() {
    const marks = this.#length ? marksOf(this.#unfinished(new Uint8Array())) : [];
    if (!marks.length) return;
    this.#mark(this.#line, this.#offset, marks);
    this.#begin(this.#line, this.#offset);
    if (!this.#busy) this.changed();
  }

  #begin(line, offset) {
    this.#line = line;
    this.#offset = offset;
    this.#rest = new Uint8Array();
    this.#length = 0;
  }

  #unfinished(bytes) {
    return decoder.decode(joined(this.#rest, bytes));
  }

  #mark(line, offset, marks) {
    if (this.#busy) this.#waiting.push({ line, offset, marks });
    else this.outline.add(line, offset, marks);
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
    let known = -1; // the offset of the last line found
    for (let at = from; at < to && !this.outline.full; ) {
      try {
        for await (const found of linesOf(`${this.path}?grep=${encodeURIComponent(MARKED)}&offset=${at}&notail`)) {
          if (found.offset >= to || found.ended === "end") return;
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
      }
    }
  }
}

/** Yields the JSON of each line of a response. */
async function* linesOf(path) {
  const stop = new AbortController();
  try {
    const answer = await request(path, { signal: stop.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ; ) {
      const { value, done } = await reader.read();
      const lines = (rest + (value ?? "")).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) yield JSON.parse(line);
      if (done) return;
    }
  } finally {
    stop.abort();
  }
}

function joined(rest, bytes) {
  const more = bytes.subarray(0, Math.max(0, LONGEST - rest.length));
  const all = new Uint8Array(rest.length + more.length);
  all.set(rest);
  all.set(more, rest.length);
  return all;
}
