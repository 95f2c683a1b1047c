/**
 * Known starts of lines: a sparse, sorted map from lines to offsets and times. Pure.
 */

const MOST = 40_000; // places that are kept; above it every second one is dropped

/** A place is `{line, offset, time}`: lines count from 1; `time` is in milliseconds since 1970, or null. */
export class Places {
  #all = [{ line: 1, offset: 0, time: null }];

  get last() {
    return this.#all.at(-1);
  }

  /** Returns the last place at or before a line. */
  before(line) {
    return this.#all[this.#index(line, "line")];
  }

  /** Returns the first place after a line, undefined if there is none. */
  after(line) {
    return this.#all[this.#index(line, "line") + 1];
  }

  /** Returns the last place at or before an offset. */
  beforeOffset(offset) {
    return this.#all[this.#index(offset, "offset")];
  }

  /** Adds places, sorted by line. A known place is kept, and gets its time if it had none. */
  learn(places) {
    const [known, merged] = [this.#all, []];
    let [left, right] = [0, 0];
    while (left < known.length || right < places.length) {
      const [ours, theirs] = [known[left], places[right]];
      if (ours && theirs && ours.line === theirs.line) {
        merged.push(ours.time === null ? { ...ours, time: theirs.time } : ours);
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
  append(line, offset, time = null) {
    if (line <= this.last.line) return;
    this.#all.push({ line, offset, time });
    this.#thin();
  }

  #thin() {
    if (this.#all.length > MOST) this.#all = this.#all.filter((_, at) => at % 2 === 0 || at > MOST - 1000);
  }

  #index(value, by) {
    let [low, high] = [0, this.#all.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#all[middle][by] <= value) low = middle;
      else high = middle;
    }
    return low;
  }
}
