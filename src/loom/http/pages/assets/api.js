/**
 * Requests to the server this page came from. Owns the header with the token and how refusals are told.
 */

import { askToken, token } from "./session.js";

/** An answer that is no success; `message` is the server's sentence. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The answer to a request that was let in; asks for a token when one is needed. Throws Refused. */
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

/** The JSON that a GET answers. */
export async function getJson(path, options) {
  return (await request(path, options)).json();
}

/** Bytes [start, stop) of a stream, or less where it ends before. */
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

/** Resolves after so many milliseconds, or at once when `signal` is aborted. */
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
