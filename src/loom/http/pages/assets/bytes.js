/**
 * The view of a stream that is not text: its type, its size and its first bytes.
 */

import { hexRows } from "./binary.js";
import { h } from "./dom.js";
import { bytes } from "./format.js";

const SHOWN = 4096; // bytes

/** Fills `place`; `asText` is called to show the stream as text. */
export function showBytes(place, { start, known, source }, asText) {
  const shown = start.subarray(0, SHOWN);
  const size = Math.max(source.size, known.size);
  const rows = hexRows(shown).flatMap(({ offset, hex, text }) => [
    h("span", { class: "offset" }, offset),
    `  ${hex.padEnd(48)}  `,
    h("span", { class: "bytes" }, text),
    "\n",
  ]);
  const rest = size > shown.length ? h("p", { class: "hint" }, `… ${bytes(size - shown.length)} more`) : null;
  place.replaceChildren(
    h("p", {}, `Binary, ${known.type || "no content type"}, ${bytes(size)}. `),
    h("button", { onclick: asText }, "Show as text anyway"),
    h("pre", {}, ...rows),
    rest,
  );
  place.hidden = false;
}
