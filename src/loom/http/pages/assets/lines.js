/**
 * Splits the bytes of a stream into the beginnings of its lines, with their numbers and offsets. Pure.
 */

import { endsOf } from "./blocks.js";

const LONGEST = 4096; // bytes of a line that are kept

const decoder = new TextDecoder();

export class Lines {
  #line; // the unfinished line
  #offset; // where it begins
  #rest = new Uint8Array(); // its first bytes
  #length = 0; // all of its bytes

  /** Begins with the start of a line. */
  constructor(line = 1, offset = 0) {
    this.#line = line;
    this.#offset = offset;
  }

  /** The offset of the unfinished line. */
  get offset() {
    return this.#offset;
  }

  /** Takes the next bytes; returns the lines that they end: `[{line, offset, text}]`. */
  feed(bytes) {
    const ends = endsOf(bytes);
    const last = ends.at(-1) ?? 0;
    const lines = ends.length ? this.#split(bytes, ends) : [];
    this.#rest = joined(this.#rest, bytes.subarray(last));
    this.#length += bytes.length - last;
    return lines;
  }

  /** Returns the last line if it has no end, as `feed` does. */
  finish() {
    const lines = this.#length ? [{ line: this.#line, offset: this.#offset, text: decoder.decode(this.#rest) }] : [];
    this.#restart(this.#line, this.#offset + this.#length);
    return lines;
  }

  #split(bytes, ends) {
    const start = this.#offset + this.#length; // of `bytes`
    const texts = [decoder.decode(joined(this.#rest, bytes.subarray(0, ends[0] - 1)))];
    if (ends.length > 1) texts.push(...decoder.decode(bytes.subarray(ends[0], ends.at(-1) - 1)).split("\n"));
    const lines = texts.map((text, at) => ({ line: this.#line + at, offset: at ? start + ends[at - 1] : this.#offset, text }));
    this.#restart(this.#line + ends.length, start + ends.at(-1));
    return lines;
  }

  #restart(line, offset) {
    this.#line = line;
    this.#offset = offset;
    this.#rest = new Uint8Array();
    this.#length = 0;
  }
}

/** Returns the first bytes of a line, of which `rest` are known. */
function joined(rest, bytes) {
  const more = bytes.subarray(0, Math.max(0, LONGEST - rest.length));
  const all = new Uint8Array(rest.length + more.length);
  all.set(rest);
  all.set(more, rest.length);
  return all;
}
