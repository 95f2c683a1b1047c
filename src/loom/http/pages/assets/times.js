/**
 * When the bytes of a stream arrived: the moments of the server, by offset. Pure.
 */

import { lastIndex } from "./bisect.js";

export class Times {
  #moments = []; // {offset, time, grain}, by offset; times in milliseconds

  /** The offset from which on moments are missing. */
  get until() {
    return this.#moments.at(-1)?.offset ?? 0;
  }

  /** Adds moments `[offset, time, grain]` of the server. The first is at or before `until`, the last may grow. */
  learn(moments) {
    if (!moments.length) return;
    const from = moments[0][0];
    while (this.#moments.length && this.#moments.at(-1).offset >= from) this.#moments.pop();
    for (const [offset, time, grain] of moments) {
      this.#moments.push({ offset, time: time * 1000, grain: grain * 1000 });
    }
  }

  /** Returns `{time, grain}`: the byte at `offset` arrived in [time, time + grain), in milliseconds. Null if unknown. */
  at(offset) {
    const moments = this.#moments;
    return moments[lastIndex(moments.length, (at) => moments[at].offset <= offset)] ?? null;
  }
}
