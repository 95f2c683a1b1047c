/**
 * Changes to streams, from `/events`. All tabs that listen share one connection; hidden tabs listen only on request.
 *
 * Over HTTP/1.1 a browser opens at most six connections to a server. So the tab that holds a lock connects and passes
 * the events on. Without locks (on an origin that is not secure) each visible tab connects, and hidden ones never.
 */

import { pause, request } from "./api.js";
import { token } from "./session.js";
import { Decoder, eventsOf } from "./sse.js";

const BACKOFF = [500, 1000, 2000, 5000, 10000];

/**
 * Calls `hear({name, row})` for each event until `signal` is aborted or the page is closed. `name` is created, changed, closed,
 * deleted, or reset: events may be missing, so list the streams again. With `hidden` a hidden tab listens, too.
 */
export function listen(hear, { signal, hidden = false } = {}) {
  // Tabs with other tokens may see other streams, so they have a channel of their own.
  const name = `loom-events-${digest(token())}`;
  const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(name) : null;
  channel?.addEventListener("message", ({ data }) => hear(data));
  const always = hidden && navigator.locks;
  const tell = (event) => {
    if (signal?.aborted) return;
    channel?.postMessage(event);
    hear(event);
  };

  let attention = null;
  const look = () => {
    if (signal?.aborted || (document.hidden && !always)) {
      attention?.abort();
      attention = null;
    } else if (!attention) {
      attention = new AbortController();
      attend(name, tell, attention.signal);
    }
  };
  const turned = () => {
    look();
    if (!document.hidden && !always) hear({ name: "reset" });
  };
  document.addEventListener("visibilitychange", turned, { signal });
  signal?.addEventListener("abort", () => (look(), channel?.close()), { once: true });
  look();
}

async function attend(name, tell, signal) {
  try {
    if (navigator.locks) await navigator.locks.request(name, { signal }, () => connect(tell, signal));
    else await connect(tell, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function connect(tell, signal) {
  let last = "";
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
      const answer = await request("/events", { headers, signal });
      if (!last) tell({ name: "reset" });
      const decoder = new Decoder(last);
      for await (const events of eventsOf(answer.body, decoder)) {
        failures = 0;
        last = decoder.id;
        for (const { name, data } of events) tell({ name, row: name === "reset" ? null : JSON.parse(data) });
      }
    } catch (error) {
      if (signal.aborted || error.status === 403) return;
      if (error.status) last = ""; // the server refuses this id: start again without one
    }
    await pause(BACKOFF[Math.min(failures, BACKOFF.length - 1)] * (0.5 + Math.random()), signal);
  }
}

/** Returns a short name for a token that does not reveal it (FNV-1a). */
function digest(text) {
  let hash = 0x811c9dc5;
  for (const char of text) hash = Math.imul(hash ^ char.codePointAt(0), 0x01000193);
  return (hash >>> 0).toString(36);
}
