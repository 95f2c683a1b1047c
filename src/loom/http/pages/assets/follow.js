/**
 * Follows the end of a stream on one connection, which resumes where it was lost. Owns the known state of the stream.
 * A hidden page shares a connection with other tabs, and learns only of the end.
 */

import { Refused, getJson, pause, request } from "./api.js";
import { listen } from "./events.js";
import { idOf } from "./format.js";
import { Decoder, eventsOf } from "./sse.js";

const BACKOFF = [300, 700, 1500, 3000, 5000];
const QUIET = 4000; // milliseconds of silence after which the state is requested
const FINAL = ["complete", "aborted"];

const encoder = new TextEncoder();

/**
 * Feeds `source` with the stream. `tell` is called with the changes of a row, `connected` and
 * `caught`. A stream that does not exist yet has the state `absent`; one that was deleted or replaced is `gone`.
 */
export class Follower {
  state = "";
  #stop = null; // ends what is done while the page is visible
  #over = new AbortController();
  #heard = 0;
  onevent = () => {}; // called with each event of any stream
  #attending = false;
  #awaited = () => {}; // called with each event that may concern the stream

  /** Without `listens` the owner passes events to `hear`. */
  constructor(path, source, tell, { listens = true } = {}) {
    Object.assign(this, { path, source, tell, listens });
  }

  /** Follows while the page is visible. */
  start() {
    let attended = null;
    const look = () => {
      if (attended === !document.hidden) return;
      attended = !document.hidden;
      this.#stop?.abort();
      this.#stop = new AbortController();
      if (this.state === "gone") return;
      if (attended) this.#run(this.#stop.signal);
    };
    document.addEventListener("visibilitychange", look, { signal: this.#over.signal });
    look();
  }

  /** Ends for good. */
  stop() {
    this.#over.abort();
    this.#stop?.abort();
  }

  /**
   * Listens to events, once the token is known. They report that the stream exists, new metadata, which may come after
   * the end, and to a hidden page the end.
   */
  #attend() {
    if (this.#attending || !this.listens) return;
    this.#attending = true;
    listen((event) => this.hear(event), { hidden: true });
  }

  /** Takes an event of any stream. */
  hear(event) {
    const { row } = event;
    this.onevent(event);
    if (row && row.id !== idOf(this.path)) return;
    this.#awaited();
    if (row && row.key === this.source.key && row.state === this.state) this.tell(newsOf(row));
    else if (document.hidden && !FINAL.includes(this.state)) this.#look(this.#stop.signal).catch(() => {});
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
    this.#attend();
    this.tell({ state: (this.state = "absent"), connected: true });
    await new Promise((resolve) => {
      signal.addEventListener("abort", resolve, { once: true });
      this.#awaited = () => getJson(`${this.path}?info`, { signal }).then(resolve, () => {});
      this.#awaited(); // it may have been created before the events were heard
    });
    this.#awaited = () => {};
  }

  /** Requests the current state of the stream. With `early`, its end is left to the events, which come after the bytes. */
  async #look(signal, { early = false } = {}) {
    const info = await getJson(`${this.path}?info`, { signal });
    if (early && FINAL.includes(info.state)) return;
    if (this.source.key && this.source.key !== info.key) throw new Refused(412, "This stream was replaced.");
    [this.state, this.size] = [info.state, info.size];
    this.source.key ||= info.key;
    this.source.created ??= Date.parse(info.created);
    this.#attend();
    this.tell(newsOf(info));
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
        if (name === "end") return this.#end(members, signal);
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
    // If the server is lost, the connection fails too.
    await this.#look(signal, { early: true }).catch(() => {});
  }

  async #end({ state, size, reason, outcome, metadata }, signal) {
    this.state = state;
    // Only the row has the time of the end.
    await this.#look(signal).catch(() => this.tell({ state, size, reason, outcome, metadata }));
    return true;
  }

  #gone(reason) {
    this.state = "gone";
    this.tell({ state: "gone", reason });
    return true;
  }
}

function newsOf({ state, size, content_type: type, metadata, reason, outcome, created, ended, deadline }) {
  return { state, size, type, metadata, reason, outcome, created, ended, deadline };
}

function bytesOf({ text, base64 }) {
  if (text !== undefined) return encoder.encode(text);
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}
