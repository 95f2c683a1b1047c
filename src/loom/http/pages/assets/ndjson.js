/**
 * Decodes JSON lines that arrive in pieces. Pure.
 */

import { textsOf } from "./sse.js";

/** Yields the objects in the body of a response. */
export async function* objectsOf(body) {
  let rest = "";
  for await (const text of textsOf(body)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}
