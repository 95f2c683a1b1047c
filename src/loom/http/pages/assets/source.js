/**
 * The lines of one stream, fetched by range when they are needed. Owns what is kept in memory: a bounded number of
 * blocks, the places of lines, the times of arrival, and the growing end.
 */

import { getBytes, getJson, pause } from "./api.js";
import { Block, SHOWN, SIZE, Tail } from "./blocks.js";
import { Places } from "./places.js";
import { Times } from "./times.js";

const KEPT = 48; // blocks
const SPARSE = 2 * SIZE; // bytes between two places above which the index is requested
const EVERY = 1000; // the least time between two requests for times, in milliseconds

export class Source {
  key = "";
  created = null;
  places = new Places();
  tail = new Tail(1, 0);
  changed = () => {};
  onbytes = () => {}; // called with the bytes that are appended
  onskip = () => {}; // called with the place at which lines continue after a part that is not read
  #blocks = new Map(); // by first line, least recently used first
  #loading = new Map(); // by place
  #asked = new Set(); // places after which the index has no closer ones
  #times = new Times();
  #dated = 0; // the bytes whose times are known
  #asking = 0; // when times were last requested

  constructor(path) {
    this.path = path;
  }

  /** The number of lines, with the unfinished one. */
  get lines() {
    return this.tail.lines;
  }

  get size() {
    return this.tail.stop;
  }

  /** Finds the lines of `size` bytes: from the index as far as it reaches, the rest by reading. */
  async catchUp(size, signal) {
    if (size - this.size > SIZE) await this.#skipAhead(signal);
    while (this.size < size) {
      const bytes = await getBytes(this.path, this.size, Math.min(size, this.size + 4 * SIZE), signal);
      if (!bytes.length) return;
      this.feed(bytes);
    }
  }

  /** Appends bytes. */
  feed(bytes) {
    this.onbytes(bytes);
    for (const block of this.tail.feed(bytes)) {
      this.#keep(block);
      this.places.append(block.first + block.ends.length, block.stop);
    }
    this.changed();
  }

  /** Returns `Block.line` of a line in memory, else null. */
  line(number) {
    return this.#at(number)?.line(number) ?? null;
  }

  /** Fetches those of lines [first, last] that are missing; `changed` is called as they arrive. */
  want(first, last) {
    for (let line = first; line <= Math.min(last, this.lines); ) {
      const block = this.#at(line);
      if (!block) this.#load(line).then(this.changed, () => {});
      const next = block ? block.first + block.count : this.places.after(line)?.line;
      if (!next || next <= line) return;
      line = next;
    }
  }

  /** Returns the bytes [start, stop) of lines [first, last]. */
  async span(first, last) {
    const [from] = (await this.#block(first)).span(first);
    const [, to] = (await this.#block(last)).span(last);
    return [from, to];
  }

  /** Returns when a line in memory began to arrive, as Times.at; null if that is unknown. */
  arrival(line) {
    return this.arrivalAt(this.#at(line)?.span(line)[0] ?? Infinity);
  }

  /** Returns when a byte arrived, as Times.at; null if that is unknown. */
  arrivalAt(offset) {
    return offset < this.#dated ? this.#times.at(offset) : null;
  }

  /** Gets from the server when bytes arrived; returns true if there is news. */
  async learnTimes() {
    if (this.#dated >= this.size) return false;
    await pause(this.#asking + EVERY - Date.now());
    this.#asking = Date.now();
    const { key, size, moments } = await getJson(`${this.path}?moments&offset=${this.#times.until}`);
    if (this.key && key !== this.key) return false; // of the stream that replaced this one
    this.#times.learn(moments);
    this.#dated = size;
    return true;
  }

  async #skipAhead(signal) {
    const index = await this.#learn("index=1000", signal);
    const { last } = this.places;
    // With places spread evenly, the last one may be far from the end.
    if (index.size - last.offset > SPARSE) await this.#learn(`index=1000&from=${last.line}`, signal);
    const place = this.places.last;
    if (place.offset > this.size) {
      this.tail = new Tail(place.line, place.offset);
      this.onskip(place);
      this.changed();
    }
  }

  async #learn(query, signal) {
    const index = await getJson(`${this.path}?${query}`, { signal });
    this.key ||= index.key;
    this.places.learn(index.places.map(([line, offset]) => ({ line, offset })));
    return index;
  }

  #at(line) {
    if (line >= this.tail.first) return this.tail.block.has(line) ? this.tail.block : null;
    for (const [first, block] of this.#blocks) {
      if (!block.has(line)) continue;
      this.#blocks.delete(first);
      this.#blocks.set(first, block);
      return block;
    }
    return null;
  }

  async #block(line) {
    for (let tries = 0; tries < 3; tries += 1) {
      const block = this.#at(line);
      if (block) return block;
      await this.#load(line);
    }
    throw new Error(`Line ${line} does not exist.`);
  }

  #load(line) {
    const { line: place } = this.places.before(line);
    let loading = this.#loading.get(place);
    if (!loading) {
      loading = this.#fetch(line).finally(() => this.#loading.delete(place));
      this.#loading.set(place, loading);
    }
    return loading;
  }

  async #fetch(line) {
    let place = this.places.before(line);
    let next = this.#next(line);
    if (next.offset - place.offset > SPARSE && next.line - place.line > 1 && !this.#asked.has(place.line)) {
      this.#asked.add(place.line);
      await this.#learn(`index=1000&from=${place.line}&to=${next.line}`);
      place = this.places.before(line);
      next = this.#next(line);
    }
    if (next.offset - place.offset <= SPARSE) {
      this.#keep(new Block(place.line, place.offset, await getBytes(this.path, place.offset, next.offset)));
    } else await this.#scan(place, next, line);
  }

  /** Reads from a place to a line. On the way it keeps places, but no bytes. */
  async #scan({ line: at, offset }, next, line) {
    for (let fresh = true; offset < next.offset; ) {
      // Of a line alone between two places only the beginning is needed.
      const alone = fresh && at === line && next.line - at === 1;
      const length = alone ? SHOWN : 2 * SIZE;
      const bytes = await getBytes(this.path, offset, Math.min(offset + length, next.offset));
      if (!bytes.length) return;
      const block = new Block(at, offset, bytes);
      const whole = block.ends.at(-1) ?? 0;
      if (fresh && (alone || (at === line && !whole))) {
        const stop = alone ? next.offset : Infinity;
        const cut = bytes.slice(0, SHOWN);
        this.#keep(new Block(at, offset, cut, { ends: [cut.length], stop, cut: true }));
        if (alone) return;
        // Its end is searched once, so that the lines after it get a place.
      } else if (fresh && whole && line < at + block.ends.length) {
        this.#keep(new Block(at, offset, bytes.slice(0, whole)));
        return;
      }
      const start = offset;
      at += block.ends.length;
      offset += whole || bytes.length;
      if (whole) {
        this.#ended(at - block.ends.length, start + block.ends[0]);
        this.places.learn([{ line: at, offset }]);
        if (at > line) return;
      }
      fresh = Boolean(whole);
    }
  }

  /** Notes the end of a line of which only a part is kept. */
  #ended(line, stop) {
    const block = this.#blocks.get(line);
    if (block?.cut) block.stop = stop;
    this.places.learn([{ line: line + 1, offset: stop }]);
  }

  #next(line) {
    const { first, start } = this.tail;
    const after = this.places.after(line);
    return after && after.line <= first ? after : { line: first, offset: start };
  }

  #keep(block) {
    this.#blocks.delete(block.first);
    this.#blocks.set(block.first, block);
    if (this.#blocks.size > KEPT) this.#blocks.delete(this.#blocks.keys().next().value);
  }
}
