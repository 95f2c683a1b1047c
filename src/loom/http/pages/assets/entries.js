/**
 * The table of the list: a row for each stream, a column for each member of metadata that is shown. Times grow while the
 * page is open.
 */

import { $, h, setText } from "./dom.js";
import { age, bytes, member, members, pathOf, since, span } from "./format.js";
import { pill } from "./outcome.js";

/** Shows streams with these columns, under a prefix that every id has. */
export function showEntries(rows, columns, prefix) {
  const focused = document.activeElement?.closest?.("tr")?.dataset.key;
  const heads = [["State", ""], ["Stream", ""], ...columns.map((name) => [name, "meta"]), ["Size", "number"], ["Started", "number"], ["Took", "number"]];
  $("heads").replaceChildren(...heads.map(([name, kind]) => h("th", { scope: "col", class: kind, title: kind === "meta" ? name : null }, name)));
  $("rows").replaceChildren(...rows.map((row) => entry(row, columns, prefix)));
  if (focused) $("rows").querySelector(`tr[data-key="${CSS.escape(focused)}"] a`)?.focus();
}

/** Lets the ages and the durations of live streams grow. */
export function grow() {
  const now = Date.now();
  for (const element of document.querySelectorAll("[data-since]")) {
    const then = Number(element.dataset.since);
    setText(element, element.dataset.runs ? span((now - then) / 1000) : age(then, now));
  }
}

function entry(row, columns, prefix) {
  const created = Date.parse(row.created);
  const known = new Map(members(row.metadata));
  const active = !["complete", "aborted"].includes(row.state);
  const took = span(((row.ended ? Date.parse(row.ended) : Date.now()) - created) / 1000);
  return h("tr", { "data-key": row.key },
    h("td", { class: "standing" }, pill(row)),
    h("td", { class: "id" }, name(row.id, prefix)),
    ...columns.map((column) => h("td", { class: "meta", title: known.has(column) ? member(known.get(column)) : null }, known.has(column) ? member(known.get(column)) : "")),
    h("td", { class: "number size" }, bytes(row.size)),
    h("td", { class: "number when" }, h("time", { datetime: row.created, title: new Date(created).toLocaleString(), ...since(created) }, age(created, Date.now()))),
    h("td", { class: "number took" }, h("span", active ? { ...since(created), "data-runs": "yes" } : {}, took)),
  );
}

/** The link to a stream. Of a long id the beginning is cut, never the last segment. */
function name(id, prefix) {
  const rest = id.slice(prefix.lastIndexOf("/") + 1);
  const cut = rest.lastIndexOf("/") + 1;
  return h("a", { href: pathOf(id), title: id }, h("span", { class: "path" }, rest.slice(0, cut)), h("span", { class: "leaf" }, rest.slice(cut)));
}
