/**
 * The columns of the list that show members of metadata: those that many rows in view have, or those that the reader
 * chose, which the browser remembers.
 */

import { h, openDialog } from "./dom.js";
import { members } from "./format.js";

const KEY = "loom-columns";
const MOST = 4; // columns that nobody chose
const ELSEWHERE = ["exit_code", "outcome", "started", "ended"]; // other columns show what these say

/** Returns the names of members in these rows, those of many rows first. */
export function namesOf(rows) {
  const found = new Map();
  for (const row of rows) for (const [name] of members(row.metadata)) found.set(name, (found.get(name) ?? 0) + 1);
  return [...found].sort(([, one], [, other]) => other - one);
}

/** Returns the columns for these rows. */
export function columnsOf(rows) {
  const common = namesOf(rows).filter(([name, count]) => count * 3 >= rows.length && !ELSEWHERE.includes(name));
  return chosen() ?? common.slice(0, MOST).map(([name]) => name);
}

/** Lets the reader choose the columns; calls `changed` after each choice. */
export function chooseColumns(rows, changed) {
  const shown = columnsOf(rows);
  const names = [...new Set([...shown, ...namesOf(rows).map(([name]) => name)])];
  const choices = names.map((name) => {
    const box = h("input", { type: "checkbox", value: name, checked: shown.includes(name) });
    return h("label", {}, box, name);
  });
  const boxes = choices.map((label) => label.firstChild);
  const list = h("div", { class: "choices", onchange: () => {
    remember(boxes.filter((box) => box.checked).map((box) => box.value));
    changed();
  } }, ...choices);
  const automatic = h("button", { value: "automatic" }, "Automatic");
  const close = h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close"), automatic);
  const hint = names.length ? "Members of metadata to show as columns. This browser remembers them." : "The streams in view have no metadata.";
  const dialog = openDialog("Columns", { class: "columns" }, h("p", { class: "hint" }, hint), list, close);
  dialog.addEventListener("close", () => dialog.returnValue === "automatic" && (remember(null), changed()));
}

function chosen() {
  try {
    const names = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(names) ? names.map(String) : null;
  } catch {
    return null;
  }
}

function remember(names) {
  if (names) localStorage.setItem(KEY, JSON.stringify(names));
  else localStorage.removeItem(KEY);
}
