/**
 * All live streams of a prefix on one connection, as lines. Owns how far each stream was received, so that nothing is
 * missing after a lost connection. A hidden page has no connection.
 */

import { PLAIN, styleAfter } from "./ansi.js";
import { getBytes, getJson, pause, request } from "./api.js";
import { pathOf } from "./format.js";
import { eventsOf } from "./sse.js";

const BEFORE = 10; // lines shown from before the page was opened
const BACKOFF = [300, 700, 1500, 3000, 5000];
const MISSED = 1 << 20; // bytes that are fetched of each stream after a lost connection
const LONGEST = 10_000; // characters of an unfinished line that are kept
const FINAL = ["complete", "aborted"];

export class Weave {
  streams = new Map(); // by key: those that are not over
  #numbers = 0;

  /** Calls `line(stream, {text, style})`, with `{end}` once a stream is over, and `changed({live, trouble})`. */
  constructor(prefix, { line, changed }) {
    Object.assign(this, { prefix, line, changed });
  }

  /** Follows while the page is visible. */
  start() {
    let stop = null;
    const look = () => {
      stop?.abort();
      stop = document.hidden ? null : new AbortController();
      if (stop) this.#run(stop.signal);
    };
    document.addEventListener("visibilitychange", look);
    look();
  }

  async #run(signal) {
    for (let failures = 0; !signal.aborted; failures += 1) {
      let trouble = "Connection lost; reconnecting …";
      try {
        const query = new URLSearchParams({ prefix: this.prefix });
        const answer = await request(`/spy?${query}`, { headers: { Accept: "text/event-stream" }, signal });
        const joined = new Set();
        for await (const events of eventsOf(answer.body)) {
          failures = 0;
          for (const { name, data } of events) this.#hear(name, JSON.parse(data), joined);
          this.#report("");
        }
      } catch (error) {
        if (error.status) trouble = error.message;
      }
      if (signal.aborted) return;
      this.#report(trouble);
      await pause(BACKOFF[Math.min(failures, BACKOFF.length - 1)] * (0.7 + 0.6 * Math.random()), signal);
    }
  }

  #report(trouble) {
    this.changed({ live: this.streams.size, trouble });
  }

  #hear(name, { id, key, offset, text }, joined) {
    const stream = this.streams.get(key);
    if (name === "start") {
      joined.add(key);
      this.#begin(stream ?? this.#add(id, key), offset);
    } else if (name === "joined") {
      // What was live and did not start again has ended meanwhile.
      for (const known of this.streams.values()) if (!joined.has(known.key)) this.#finish(known);
    } else if (name === "end") {
      if (stream) this.#finish(stream);
    } else if (stream) this.#then(stream, () => this.#take(stream, text, offset));
  }

  #add(id, key) {
    const stream = { id, key, path: pathOf(id, "/stream/"), number: this.#numbers, next: null, rest: "", style: PLAIN, turn: Promise.resolve() };
    this.#numbers += 1;
    this.streams.set(key, stream);
    return stream;
  }

  /** Does something after all that was begun for this stream. */
  #then(stream, action) {
    stream.turn = stream.turn.then(action).catch(() => {}); // a stream that was deleted meanwhile
  }

  /** Fetches what comes before `offset`, from where events continue. */
  #begin(stream, offset) {
    this.#then(stream, async () => {
      if (stream.next === null && offset) {
        const answer = await request(`${stream.path}?lines=${BEFORE}&notail`);
        const start = Number(answer.headers.get("X-Stream-Offset"));
        const bytes = new Uint8Array(await answer.arrayBuffer());
        this.#take(stream, new TextDecoder().decode(bytes.subarray(0, Math.max(0, offset - start))), offset);
      } else await this.#catchUp(stream, offset);
    });
  }

  async #catchUp(stream, offset) {
    const from = Math.max(stream.next ?? 0, offset - MISSED);
    if (from < offset) this.#take(stream, new TextDecoder().decode(await getBytes(stream.path, from, offset)), offset);
  }

  #take(stream, text, offset) {
    stream.next = offset;
    const lines = (stream.rest + text).split("\n");
    stream.rest = lines.pop().slice(0, LONGEST);
    for (const each of lines) this.#show(stream, each);
  }

  #show(stream, text) {
    this.line(stream, { text, style: stream.style });
    stream.style = styleAfter(text, stream.style);
  }

  #finish(stream) {
    this.streams.delete(stream.key);
    this.#then(stream, async () => {
      const row = await getJson(`${stream.path}?info`);
      const same = row.key === stream.key;
      if (same && FINAL.includes(row.state)) await this.#catchUp(stream, row.size);
      if (stream.rest) this.#show(stream, stream.rest);
      this.line(stream, { end: same ? row : { state: "gone" } });
    });
    stream.turn.then(() => this.#report(""));
  }
}
