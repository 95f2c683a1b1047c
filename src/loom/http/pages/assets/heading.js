/**
 * The first line of a section as an element: a button that opens and closes it, its title, how many lines it hides, its
 * errors and warnings, and the time it took.
 */

import { PLAIN } from "./ansi.js";
import { h } from "./dom.js";
import { amount, span } from "./format.js";
import { contentOf, frameOf } from "./row.js";

/** Creates the element of a section; `open` and `took` are those of Sections, the rest is as for rowOf. */
export function headingOf(section, { open, took, lines, ...options }) {
  const row = frameOf(section.line, options);
  row.classList.add("section", open ? "open" : "closed");
  const title = section.title.trim() ? section.title : section.name ?? "Section";
  // Lines are too low for targets that follow each other: Tab reaches one title, and keys move from there to others.
  const button = h("button", { type: "button", class: "fold", tabindex: -1, "aria-expanded": String(open) });
  button.append(h("span", { class: "chevron", "aria-hidden": "true" }), contentOf({ text: title, style: PLAIN, hidden: 0 }, options, "title"));
  const facts = h("span", { class: "tally" });
  const { errors, warnings } = section;
  if (errors) facts.append(h("b", { class: "error" }, amount(errors, "error")));
  if (warnings) facts.append(h("b", { class: "warning" }, amount(warnings, "warning")));
  const hidden = (section.last ?? lines) - section.line - (section.marked ? 1 : 0);
  if (!open && hidden > 0) facts.append(h("span", {}, amount(hidden, "line")));
  if (took !== null) facts.append(h("span", {}, took < 1 ? "<1s" : span(took)));
  row.append(h("span", { class: "x" }, button, facts));
  return row;
}
