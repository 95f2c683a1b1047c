/**
 * One search of a whole stream, by the server: it sends the lines that match, not the stream. Owns which lines match;
 * keeps their numbers, no text.
 */

import { pause, request } from "./api.js";
import { lastIndex } from "./bisect.js";
import { objectsOf } from "./ndjson.js";
import { expressionOf, markerOf } from "./pattern.js";

const MOST = 50_000; // lines that are found before the search stops
const CALM = 500; // milliseconds between two requests for the new bytes of a live stream

/** `changed` is called as the search proceeds. */
export class Search {
  lines = []; // the line of each match, sorted
  searched = 0; // bytes
  full = false; // whether there are more matches than are kept
  #matched = 0; // lines
  #running = false;
  #refused = false;
  #stop = new AbortController();

  constructor(path, text, { regex, exact }, changed) {
    Object.assign(this, { path, changed, text, regex, exact, marker: markerOf(text, { regex, exact }) });
  }

  get count() {
    return this.lines.length;
  }

  /** True if it is a search for this. */
  is(text, { regex, exact }) {
    return this.text === text && this.regex === regex && this.exact === exact;
  }

  /** Searches up to `size`. It is called again as the stream grows. At `open` begins a line that may grow. */
  async run(size, open) {
    Object.assign(this, { size, open });
    if (this.#running || this.#refused) return;
    this.#running = true;
    const { signal } = this.#stop;
    try {
      // A request that found no further line is repeated only if the stream grew while it ran.
      let from = -1;
      let asked = -1;
      while (!signal.aborted && !this.full && this.searched < this.size && (this.searched !== from || this.size !== asked)) {
        from = this.searched;
        asked = this.size;
        await this.#request(signal);
        this.changed();
        if (this.searched < this.size) await pause(CALM, signal);
      }
    } catch (error) {
      this.#refused = Boolean(error.status); // the pattern is wrong, for example
      throw error;
    } finally {
      this.#running = false;
    }
    if (!signal.aborted) this.changed();
  }

  end() {
    this.#stop.abort();
  }

  /** Returns the number, from 0, of the first match at or after a line, or 0 if there is none. */
  firstFrom(line) {
    const found = lastIndex(this.lines.length, (at) => this.lines[at] < line) + 1;
    return found < this.lines.length ? found : 0;
  }

  /** Returns the position of a match among those of its line, from 0. */
  placeInLine(match) {
    const line = this.lines[match];
    let first = match;
    while (first > 0 && this.lines[first - 1] === line) first -= 1;
    return match - first;
  }

  /** Searches what is stored after the bytes that were searched. */
  async #request(signal) {
    const query = new URLSearchParams({ grep: expressionOf(this.text, this.regex), offset: this.searched, limit: MOST - this.#matched, notail: "" });
    if (!this.exact) query.set("ignore_case", "");
    const answer = await request(`${this.path}?${query}`, { signal });
    const { open } = this;
    let shown = 0;
    for await (const found of objectsOf(answer.body)) {
      if (found.line) this.#found(found);
      else this.#reached(found, open);
      // The first match is shown at once, the others as often as the page is drawn.
      if (found.line && Date.now() - shown < 100) continue;
      this.changed();
      shown = Date.now();
    }
  }

  #found({ line, spans = [] }) {
    while (this.lines.at(-1) >= line) this.lines.pop(); // a line that was unfinished, or one in parts
    this.#matched += 1;
    for (let match = 0; match < Math.max(1, spans.length); match += 1) this.lines.push(line);
  }

  #reached({ next, ended, reason }, open) {
    // The unfinished line is searched again once the stream has grown.
    this.searched = Math.max(this.searched, Math.min(next ?? 0, open));
    if (ended === "limit") this.full = true;
    if (["failed", "gone", "stopped"].includes(ended)) throw new Error(reason || "The search failed.");
  }
}
