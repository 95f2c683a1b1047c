/**
 * Searches a whole stream, one part at a time, in the visible text of its lines: sequences for colours and overwritten
 * text do not match. Owns which lines match; keeps their numbers, no text.
 */

import { getBytes } from "./api.js";
import { plain } from "./ansi.js";

const PART = 1 << 20; // bytes searched at once
const MOST = 1_000_000; // matches whose lines are kept
const LONGEST = 4 << 20; // bytes of one line that are searched

/** Returns the regular expression of a search. Throws SyntaxError. */
export function patternOf(text, { regex = false, exact = false } = {}) {
  const source = regex ? text : text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(source, exact ? "gmu" : "gimu");
}

/** Returns at most `most` matches in a line: `[{start, stop}]`. */
export function findIn(pattern, text, most = 1000) {
  const found = [];
  pattern.lastIndex = 0;
  for (let match; found.length < most && (match = pattern.exec(text)); ) {
    if (match[0]) found.push({ start: match.index, stop: match.index + match[0].length });
    else pattern.lastIndex += 1;
  }
  return found;
}

/**
 * Calls `hit(line)` for each match in `text`, whose first line has the number `line`. Only lines that overwrite
 * themselves are rendered and searched one by one.
 */
export function searchText(pattern, text, line, hit) {
  const lines = /[\r\b\x1b]/.test(text) ? text.split("\n").map((each) => plain(each)).join("\n") : text;
  let [number, counted] = [line, 0];
  for (const { start } of findIn(pattern, lines, Infinity)) {
    for (let end = lines.indexOf("\n", counted); end >= 0 && end < start; end = lines.indexOf("\n", counted)) {
      number += 1;
      counted = end + 1;
    }
    hit(number);
  }
}

/** One search. `changed` is called as it proceeds. */
export class Search {
  lines = []; // the line of each match, sorted
  count = 0;
  searched = 0; // bytes
  #line = 1;
  #running = false;
  #stop = new AbortController();

  constructor(path, pattern, changed) {
    [this.path, this.pattern, this.changed] = [path, pattern, changed];
  }

  /** Searches up to `size`. It is called again as the stream grows; `final` says that it cannot grow any more. */
  async run(size, final) {
    this.size = size;
    this.final = final;
    if (this.#running) return;
    this.#running = true;
    try {
      while (!this.#stop.signal.aborted && this.searched < this.size) {
        if (!(await this.#part())) break;
        this.changed();
      }
    } finally {
      this.#running = false;
    }
    if (!this.#stop.signal.aborted) this.changed();
  }

  end() {
    this.#stop.abort();
  }

  /** Returns the number, from 0, of the first match at or after a line, or 0 if there is none. */
  firstFrom(line) {
    let [low, high] = [0, this.lines.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.lines[middle] < line) low = middle + 1;
      else high = middle;
    }
    return low < this.lines.length ? low : 0;
  }

  /** Returns the position of a match among those of its line, from 0. */
  placeInLine(match) {
    const line = this.lines[match];
    let first = match;
    while (first > 0 && this.lines[first - 1] === line) first -= 1;
    return match - first;
  }

  async #part() {
    const { signal } = this.#stop;
    let bytes = new Uint8Array();
    let whole = 0;
    // Only whole lines are searched, and at the end of the stream the unfinished one.
    for (let length = PART; !whole; length *= 2) {
      const stop = Math.min(this.size, this.searched + length);
      bytes = await getBytes(this.path, this.searched, stop, signal);
      whole = bytes.lastIndexOf(10) + 1;
      const all = this.searched + bytes.length >= this.size;
      if (!whole && all && !this.final) return false;
      if (!whole && (all || length >= LONGEST)) whole = bytes.length;
    }
    const text = new TextDecoder().decode(bytes.subarray(0, whole));
    searchText(this.pattern, text, this.#line, (line) => {
      this.count += 1;
      if (this.lines.length < MOST) this.lines.push(line);
    });
    for (let at = bytes.indexOf(10); at >= 0 && at < whole; at = bytes.indexOf(10, at + 1)) this.#line += 1;
    this.searched += whole;
    return true;
  }
}
