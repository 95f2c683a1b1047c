/**
 * Where lines begin, as far as it is known: a sparse, sorted map from lines to offsets and times. Pure.
 */

const MOST = 40_000; // places that are kept; then every other one goes

/** A place is `{line, offset, time}`: the first line is 1, `time` in milliseconds since 1970 or null. */
export class Places {
  #all = [{ line: 1, offset: 0, time: null }];

  get last() {
    return this.#all.at(-1);
  }

  /** The last place at or before that line. */
  before(line) {
    return this.#all[this.#index(line, "line")];
  }

  /** The first place behind that line, undefined if there is none. */
  after(line) {
    return this.#all[this.#index(line, "line") + 1];
  }

  /** The last place at or before that byte. */
  beforeOffset(offset) {
    return this.#all[this.#index(offset, "offset")];
  }

  /** Learns places, sorted by line; what is known already stays, but for a time that was not. */
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

  /** Learns one behind all that are known. */
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
