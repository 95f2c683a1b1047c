/**
 * Requests to the server of this page. Owns the header with the token, and the message of a refusal.
 */

import { askToken, token } from "./session.js";

/** A response that is not a success; `message` is the server's sentence. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Sends a request and returns its response; asks for a token if the server needs one. Throws Refused. */
export async function request(path, { headers = {}, ...options } = {}) {
  for (;;) {
    const sent = token();
    const authorization = sent ? { Authorization: `Bearer ${sent}` } : {};
    const answer = await fetch(path, {
      cache: "no-store", credentials: "omit", redirect: "error", ...options, headers: { ...headers, ...authorization },
    });
    if (answer.ok) return answer;
    if (answer.status === 401) {
      await answer.body?.cancel();
      await askToken(sent);
      continue;
    }
    throw new Refused(answer.status, await detailOf(answer));
  }
}

/** Returns the JSON of a GET. */
export async function getJson(path, options) {
  return (await request(path, options)).json();
}

/** Returns bytes [start, stop) of a stream, or fewer if it ends before. */
export async function getBytes(path, start, stop, signal) {
  if (stop <= start) return new Uint8Array();
  try {
    const answer = await request(path, { headers: { Range: `bytes=${start}-${stop - 1}` }, signal });
    return new Uint8Array(await answer.arrayBuffer());
  } catch (error) {
    if (error.status === 416) return new Uint8Array();
    throw error;
  }
}

/** Resolves after so many milliseconds, or as soon as `signal` is aborted. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

async function detailOf(answer) {
  try {
    return (await answer.json()).detail ?? answer.statusText;
  } catch {
    return answer.statusText || `The server answered ${answer.status}.`;
  }
}
