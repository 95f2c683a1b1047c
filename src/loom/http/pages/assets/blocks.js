/**
 * Bytes split into lines: blocks of whole lines, and the growing end of a stream. Pure.
 */

import { PLAIN, styleAfter } from "./ansi.js";

const LF = 10;
const CR = 13;
const ESC = 27;
export const SIZE = 256 << 10; // the approximate size of a block in bytes
export const SHOWN = 64 << 10; // bytes kept of a line that is longer than a block

const decoder = new TextDecoder();

/** Returns the positions after each LF in `bytes`. */
export function endsOf(bytes, from = 0) {
  const ends = [];
  for (let at = bytes.indexOf(LF, from); at >= 0; at = bytes.indexOf(LF, at + 1)) ends.push(at + 1);
  return ends;
}

/**
 * The lines from number `first` on, in bytes [start, stop). The last line may have no LF. A block with `cut` has one
 * long line and only a part of its bytes: the beginning, or the end if the line returns to its beginning.
 */
export class Block {
  #styles = null;

  constructor(first, start, bytes, { ends = endsOf(bytes), stop = start + bytes.length, cut = false } = {}) {
    Object.assign(this, { first, start, stop, bytes, ends, cut });
  }

  get count() {
    return this.cut ? 1 : this.ends.length + (this.bytes.length > (this.ends.at(-1) ?? 0) ? 1 : 0);
  }

  has(line) {
    return line >= this.first && line < this.first + this.count;
  }

  /** Returns `{text, style, hidden}` of a line: `style` is that at its start, `hidden` the bytes missing in `text`. */
  line(line) {
    const at = line - this.first;
    const bytes = this.bytesOf(at);
    const shown = bytes.length > SHOWN ? bytes.subarray(0, SHOWN) : bytes;
    const hidden = (this.cut ? this.stop - this.start : bytes.length) - shown.length;
    return { text: decoder.decode(shown), style: this.#style(at), hidden };
  }

  /** Returns the range [start, stop) of a line in the stream, with its LF. */
  span(line) {
    if (this.cut) return [this.start, this.stop];
    const at = line - this.first;
    return [this.start + (this.ends[at - 1] ?? 0), this.start + (this.ends[at] ?? this.bytes.length)];
  }

  bytesOf(at) {
    const bytes = this.bytes.subarray(this.ends[at - 1] ?? 0, this.ends[at] ?? this.bytes.length);
    return bytes.at(-1) === LF ? bytes.subarray(0, -1) : bytes;
  }

  /** Returns the style at the start of a line. A style continues over line ends, within a block. */
  #style(at) {
    if (!this.#styles) this.#styles = this.bytes.includes(ESC) ? [PLAIN] : [];
    if (!this.#styles.length) return PLAIN;
    for (let next = this.#styles.length; next <= at; next += 1) {
      const bytes = this.bytesOf(next - 1);
      const before = this.#styles[next - 1];
      this.#styles.push(bytes.includes(ESC) ? styleAfter(decoder.decode(bytes), before) : before);
    }
    return this.#styles[at];
  }
}

/** The growing end of a stream: the unfinished line and some lines before it, in bounded memory. */
export class Tail {
  #bytes = new Uint8Array(SIZE);
  #length = 0;
  #ends = [];
  #stop;
  #cut = false;
  #block = null;

  constructor(first, start) {
    this.first = first;
    this.start = start;
    this.#stop = start;
  }

  /** The offset after the last byte. */
  get stop() {
    return this.#stop;
  }

  /** The offset and the number of the unfinished line. */
  get open() {
    return { offset: this.#cut ? this.start : this.start + (this.#ends.at(-1) ?? 0), line: this.first + this.#ends.length };
  }

  /** The number of lines in the stream up to here, with the unfinished one. */
  get lines() {
    const { offset, line } = this.open;
    return offset < this.#stop ? line : line - 1;
  }

  /** A copy of the current lines. */
  get block() {
    this.#block ??= new Block(this.first, this.start, this.#bytes.slice(0, this.#length), {
      ends: this.#ends.slice(),
      stop: this.#stop,
      cut: this.#cut,
    });
    return this.#block;
  }

  /** Appends bytes; returns the blocks that they fill. */
  feed(bytes) {
    this.#block = null;
    const full = [];
    for (let at = 0; at < bytes.length; at += SIZE) this.#take(bytes.subarray(at, at + SIZE), full);
    return full;
  }

  #take(bytes, full) {
    if (this.#cut) {
      const end = bytes.indexOf(LF);
      if (end < 0) return this.#skip(bytes);
      this.#skip(bytes.subarray(0, end));
      this.#stop += 1;
      full.push(this.#sealCut());
      bytes = bytes.subarray(end + 1);
    }
    this.#append(bytes);
    const whole = this.#ends.at(-1) ?? 0;
    if (whole && this.#length > SIZE) full.push(this.#seal(whole));
    if (!this.#ends.length && this.#length > SIZE) this.#beginCut();
  }

  #append(bytes) {
    if (this.#length + bytes.length > this.#bytes.length) {
      const larger = new Uint8Array(2 * (this.#length + bytes.length));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    for (const end of endsOf(bytes)) this.#ends.push(this.#length + end);
    this.#length += bytes.length;
    this.#stop += bytes.length;
  }

  #seal(whole) {
    const block = new Block(this.first, this.start, this.#bytes.slice(0, whole), { ends: this.#ends });
    this.#bytes.copyWithin(0, whole, this.#length);
    this.#length -= whole;
    this.first += block.ends.length;
    this.start += whole;
    this.#ends = [];
    return block;
  }

  /** Cuts a line longer than a block: one with carriage returns (progress) keeps its end, another its beginning. */
  #beginCut() {
    this.#cut = true;
    const rest = this.#bytes.subarray(0, this.#length);
    const from = rest.includes(CR) ? Math.max(0, this.#length - SHOWN) : 0;
    this.#keep(rest.slice(from, from + SHOWN));
  }

  #skip(bytes) {
    this.#stop += bytes.length;
    if (bytes.includes(CR)) {
      const kept = new Uint8Array(this.#length + bytes.length);
      kept.set(this.#bytes.subarray(0, this.#length));
      kept.set(bytes, this.#length);
      this.#keep(kept.slice(-SHOWN));
    }
  }

  #keep(bytes) {
    this.#bytes.set(bytes);
    this.#length = bytes.length;
  }

  #sealCut() {
    const kept = this.#bytes.slice(0, this.#length);
    const block = new Block(this.first, this.start, kept, { ends: [kept.length], stop: this.#stop, cut: true });
    Object.assign(this, { first: this.first + 1, start: this.#stop });
    this.#length = 0;
    this.#cut = false;
    return block;
  }
}
