/**
 * Read-only links: tokens that the server signs for one stream or for those of a prefix. Owns the list of links that
 * were made in this browser, which has no tokens.
 */

import { request } from "./api.js";

const KEY = "loom-links";

/** Returns the links that have not expired, newest first: `[{streams, jti, expires}]`. */
export function madeHere() {
  const all = JSON.parse(localStorage.getItem(KEY) ?? "[]");
  return all.filter((link) => Date.parse(link.expires) > Date.now());
}

/** Has the server sign a token for reading `{id}` or `{prefix}`, valid for so many seconds. Returns it. */
export async function sign(streams, seconds) {
  const wanted = { scopes: ["read"], ...streams, expires_in: seconds, name: "shared in the browser" };
  const answer = await request("/tokens", { method: "POST", body: JSON.stringify(wanted) });
  const { token, jti, expires } = await answer.json();
  keep([{ streams: streams.id ?? streams.prefix, jti, expires }, ...madeHere()]);
  return token;
}

/** Has the server end the token of a link. */
export async function revoke({ jti }) {
  await request(`/tokens/${encodeURIComponent(jti)}`, { method: "DELETE" });
  keep(madeHere().filter((link) => link.jti !== jti));
}

function keep(links) {
  localStorage.setItem(KEY, JSON.stringify(links));
}
