/**
 * The standing of a stream: its outcome if it has one, else its state. Shown as a pill with a word and a shape, so that
 * nobody needs to see its colour. The style has the shapes and colours, by the word.
 */

import { h, setText } from "./dom.js";
import { moment } from "./format.js";

/** A character for each word, where no shape can be drawn, as in a title. */
export const SIGNS = {
  live: "●", interrupted: "▲", open: "○", complete: "■", aborted: "⚠", gone: "✕", absent: "…",
  success: "✓", failure: "✗", cancelled: "⊘", skipped: "»",
};

/** Returns the word for a stream, a row of the list: success, failure, cancelled, skipped, or its state. */
export const wordOf = ({ state, outcome }) => (state === "complete" && outcome) || state;

/** Returns what there is to add to the word, empty for nothing. */
export function detailOf({ state, outcome, reason, deadline, metadata }, now = Date.now()) {
  const until = deadline ? `until ${moment(Date.parse(deadline), now)}` : "";
  if (state === "interrupted") return `waits for its producer ${until}`.trim();
  if (state === "open") return `waits for more ${until}`.trim();
  if (state === "aborted") return reason;
  const code = metadata?.exit_code;
  return outcome === "failure" && (typeof code === "number" || typeof code === "string") ? `exit code ${code}` : "";
}

/** Shows the standing in an element. */
export function showPill(element, row) {
  const [word, detail] = [wordOf(row), detailOf(row)];
  element.className = `state ${word}`;
  element.title = detail ? `${word}: ${detail}` : word;
  setText(element, word);
}

/** Creates an element that shows the standing. */
export function pill(row) {
  const element = h("span");
  showPill(element, row);
  return element;
}
