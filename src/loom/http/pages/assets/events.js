/**
 * Changes to streams, from `/events`. All visible tabs share one connection; hidden tabs have none.
 *
 * Over HTTP/1.1 a browser opens at most six connections to a server. So the visible tab that holds a lock connects and
 * passes the events on. Without locks (on an origin that is not secure) each visible tab connects.
 */

import { pause, request } from "./api.js";
import { token } from "./session.js";
import { Decoder, eventsOf } from "./sse.js";

const BACKOFF = [500, 1000, 2000, 5000, 10000];

/**
 * Calls `hear({name, row})` for each event until the page is closed. `name` is created, closed, deleted, or reset:
 * events may be missing, so list the streams again.
 */
export function listen(hear) {
  // Tabs with other tokens may see other streams, so they have a channel of their own.
  const name = `loom-events-${digest(token())}`;
  const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(name) : null;
  channel?.addEventListener("message", ({ data }) => hear(data));
  const tell = (event) => {
    hear(event);
    channel?.postMessage(event);
  };

  let attention = null;
  const look = () => {
    if (document.hidden) {
      attention?.abort();
      attention = null;
    } else if (!attention) {
      attention = new AbortController();
      attend(name, tell, attention.signal);
    }
  };
  document.addEventListener("visibilitychange", () => {
    look();
    if (!document.hidden) hear({ name: "reset" });
  });
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
