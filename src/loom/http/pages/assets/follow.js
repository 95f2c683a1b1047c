/**
 * Follows the end of a stream on one connection, which resumes where it was lost. Owns the known state of the stream.
 * A hidden page has no connection.
 */

import { getJson, pause, request } from "./api.js";
import { listen } from "./events.js";
import { idOf } from "./format.js";
import { Decoder, eventsOf } from "./sse.js";

const BACKOFF = [300, 700, 1500, 3000, 5000];
const QUIET = 4000; // milliseconds of silence after which the state is requested
const FINAL = ["complete", "aborted"];

const encoder = new TextEncoder();

/**
 * Feeds `source` with the stream. `tell` is called with the changes of `{state, size, type, metadata, reason, outcome,
 * deadline, connected}`. A stream that does not exist yet has the state `absent`; one that was deleted or replaced is `gone`.
 */
export class Follower {
  state = "";
  #stop = null;
  #heard = 0;

  constructor(path, source, tell) {
    [this.path, this.source, this.tell] = [path, source, tell];
  }

  /** Follows while the page is visible. */
  start() {
    const look = () => {
      if (document.hidden) {
        this.#stop?.abort();
        this.#stop = null;
      } else if (!this.#stop && this.state !== "gone") {
        this.#stop = new AbortController();
        this.#run(this.#stop.signal);
      }
    };
    document.addEventListener("visibilitychange", look);
    look();
    // The connection reports no new metadata, and it may come after the end.
    listen(({ name, row }) => {
      if (name !== "changed" || row.key !== this.source.key) return;
      this.tell({ state: this.state, metadata: row.metadata, outcome: row.outcome });
    });
  }

  async #run(signal) {
    const watch = setInterval(() => this.#watch(signal), QUIET);
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        await this.#look(signal);
        await this.source.catchUp(this.size, signal);
        this.tell({ connected: true, caught: true });
        if (await this.#listen(signal, () => (failures = 0))) break;
      } catch (error) {
        if (signal.aborted) break;
        const missing = error.status === 404;
        if (missing && !this.source.key) {
          await this.#appear(signal);
          failures = -1;
          continue;
        }
        if (missing || error.status === 412) {
          this.#gone(missing ? "This stream was deleted." : "This stream was replaced: load the page again.");
          break;
        }
        this.tell({ connected: false, trouble: error.status ? error.message : "" });
      }
      await pause(BACKOFF[Math.min(failures, BACKOFF.length - 1)] * (0.7 + 0.6 * Math.random()), signal);
    }
    clearInterval(watch);
  }

  /** Waits until the stream exists, or `signal` is aborted. */
  async #appear(signal) {
    this.tell({ state: (this.state = "absent"), connected: true });
    const done = new AbortController();
    await new Promise((resolve) => {
      signal.addEventListener("abort", resolve, { once: true });
      const look = () => getJson(`${this.path}?info`, { signal }).then(resolve, () => {});
      // An event after which others may be missing, and the first one, are the occasions to look.
      listen(({ name, row }) => (name === "reset" || row.id === idOf(this.path)) && look(), { signal: done.signal });
      look();
    });
    done.abort();
  }

  /** Requests the current state of the stream. */
  async #look(signal) {
    const info = await getJson(`${this.path}?info`, { signal });
    const { state, size, content_type: type, metadata, reason, outcome, deadline } = info;
    [this.state, this.size] = [state, size];
    this.source.key ||= info.key;
    this.source.created ??= Date.parse(info.created);
    this.tell({ state, size, type, metadata, reason, outcome, deadline });
  }

  /** Feeds the source; returns true once nothing more can arrive. */
  async #listen(signal, onAlive) {
    const { source } = this;
    const place = `${source.key}:${source.size}`;
    // With Last-Event-ID the server reports a replaced stream. For a final stream it would not send how it ended.
    const named = source.key && !FINAL.includes(this.state);
    const query = named ? "" : `?offset=${source.size}`;
    const headers = { Accept: "text/event-stream", ...(named ? { "Last-Event-ID": place } : {}) };
    const answer = await request(this.path + query, { headers, signal });
    if (answer.status === 204) return false;
    this.#heard = Date.now();
    for await (const events of eventsOf(answer.body, new Decoder())) {
      onAlive();
      this.#heard = Date.now();
      for (const { name, data, id } of events) {
        if (id) source.key = id.slice(0, id.lastIndexOf(":"));
        const members = JSON.parse(data);
        if (name === "end") return this.#end(members);
        if (name === "gone") return this.#gone(members.reason);
        if (this.state !== "live") this.tell({ state: (this.state = "live") });
        source.feed(bytesOf(members));
      }
    }
    return false;
  }

  /** Requests the state of a silent stream: events do not report that its producer was lost. */
  async #watch(signal) {
    if (signal.aborted || Date.now() - this.#heard < QUIET || FINAL.includes(this.state)) return;
    try {
      const { state, deadline } = await getJson(`${this.path}?info`, { signal });
      if (!FINAL.includes(state) && state !== this.state) this.tell({ state: (this.state = state), deadline });
    } catch {
      // If the server is lost, the connection fails too.
    }
  }

  #end({ state, size, reason, outcome, metadata }) {
    this.state = state;
    this.tell({ state, size, reason, outcome, metadata });
    return true;
  }

  #gone(reason) {
    this.state = "gone";
    this.tell({ state: "gone", reason });
    return true;
  }
}

function bytesOf({ text, base64 }) {
  if (text !== undefined) return encoder.encode(text);
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}
