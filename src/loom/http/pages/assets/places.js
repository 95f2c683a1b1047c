/**
 * Known starts of lines: a sparse, sorted map from lines to offsets. Pure.
 */

import { lastIndex } from "./bisect.js";

const MOST = 40_000; // places that are kept; above it every second one is dropped

/** A place is `{line, offset}`: lines count from 1. */
export class Places {
  #all = [{ line: 1, offset: 0 }];

  get last() {
    return this.#all.at(-1);
  }

  /** Returns the last place at or before a line. */
  before(line) {
    return this.#all[this.#index(line)];
  }

  /** Returns the first place after a line, undefined if there is none. */
  after(line) {
    return this.#all[this.#index(line) + 1];
  }

  /** Adds places, sorted by line. */
  learn(places) {
    const [known, merged] = [this.#all, []];
    let [left, right] = [0, 0];
    while (left < known.length || right < places.length) {
      const [ours, theirs] = [known[left], places[right]];
      if (ours && theirs && ours.line === theirs.line) {
        merged.push(ours);
        left += 1;
        right += 1;
      } else if (!theirs || (ours && ours.line < theirs.line)) {
        merged.push(ours);
        left += 1;
      } else {
        merged.push(theirs);
        right += 1;
      }
    }
    this.#all = merged;
    this.#thin();
  }

  /** Adds a place after all known ones. */
  append(line, offset) {
    if (line <= this.last.line) return;
    this.#all.push({ line, offset });
    this.#thin();
  }

  #thin() {
    if (this.#all.length > MOST) this.#all = this.#all.filter((_, at) => at % 2 === 0 || at > MOST - 1000);
  }

  #index(line) {
    return lastIndex(this.#all.length, (at) => this.#all[at].line <= line);
  }
}
