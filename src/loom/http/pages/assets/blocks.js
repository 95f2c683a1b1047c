/**
 * Bytes cut into lines: blocks of whole lines, and the growing end of a stream. Pure.
 */

import { PLAIN, styleAfter } from "./ansi.js";

const LF = 10;
const CR = 13;
const ESC = 27;
export const SIZE = 256 << 10; // bytes of a block, more or less
export const SHOWN = 64 << 10; // bytes kept of a line that is longer than a block

const decoder = new TextDecoder();

/** The places behind each LF of `bytes`. */
export function endsOf(bytes, from = 0) {
  const ends = [];
  for (let at = bytes.indexOf(LF, from); at >= 0; at = bytes.indexOf(LF, at + 1)) ends.push(at + 1);
  return ends;
}

/**
 * Lines `first` and following, which stand at [start, stop). The last one may lack its LF. Of a block with `cut`, which
 * has one line only, `bytes` is a part: its beginning, or the end of one that goes back to its beginning.
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

  /** `{text, style, hidden}` of a line: the style it begins in, and how many of its bytes are not in `text`. */
  line(line) {
    const at = line - this.first;
    const bytes = this.bytesOf(at);
    const shown = bytes.length > SHOWN ? bytes.subarray(0, SHOWN) : bytes;
    const hidden = (this.cut ? this.stop - this.start : bytes.length) - shown.length;
    return { text: decoder.decode(shown), style: this.#style(at), hidden };
  }

  /** Bytes [start, stop) of the stream where a line stands, with its LF. */
  span(line) {
    if (this.cut) return [this.start, this.stop];
    const at = line - this.first;
    return [this.start + (this.ends[at - 1] ?? 0), this.start + (this.ends[at] ?? this.bytes.length)];
  }

  bytesOf(at) {
    const bytes = this.bytes.subarray(this.ends[at - 1] ?? 0, this.ends[at] ?? this.bytes.length);
    return bytes.at(-1) === LF ? bytes.subarray(0, -1) : bytes;
  }

  /** Styles go on over the ends of lines, from the block's beginning. */
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

/** The growing end: holds the line that is not ended yet and some before it. Its memory has a bound. */
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

  /** The offset behind the last byte. */
  get stop() {
    return this.#stop;
  }

  /** Where the line begins that is not ended yet, and its number. */
  get open() {
    return { offset: this.#cut ? this.start : this.start + (this.#ends.at(-1) ?? 0), line: this.first + this.#ends.length };
  }

  /** How many lines there are with all before this, one that is not ended yet too. */
  get lines() {
    const { offset, line } = this.open;
    return offset < this.#stop ? line : line - 1;
  }

  /** The lines held, as they are now. */
  get block() {
    this.#block ??= new Block(this.first, this.start, this.#bytes.slice(0, this.#length), {
      ends: this.#ends.slice(),
      stop: this.#stop,
      cut: this.#cut,
    });
    return this.#block;
  }

  /** Takes the bytes that come next; returns the blocks that this fills. */
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

  /** One line is longer than a block: a progress that always begins anew keeps its end, any other its beginning. */
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
