/**
 * The page that lists streams: connects the filter box, the pages of the list and the events.
 */

import { $, announce, h, setText } from "./dom.js";
import { listen } from "./events.js";
import { ACTIVE, matches, parseFilter } from "./filter.js";
import { age, bytes, count, member, members, pathOf, span } from "./format.js";
import { pill } from "./outcome.js";
import { Pager } from "./pager.js";
import { adoptLink } from "./session.js";
import { begin } from "./shell.js";

const SIZE = 100; // rows per page
const SETTLE = 150; // milliseconds for which changes and key presses are gathered
const REFRESH = 5000; // milliseconds between two requests for the sizes of live streams

const table = $("rows");
let pager;
let rows = [];
let loading = null;
let settling = null;

adoptLink();
begin([
  ["/", "filter", () => $("filter").select()],
  ["j ArrowDown", "next stream", () => step(1)],
  ["k ArrowUp", "previous stream", () => step(-1)],
  ["Enter", "open the stream"],
  ["n", "next page", () => turn("forward")],
  ["p", "previous page", () => turn("back")],
]);
$("filter").value = new URLSearchParams(location.search).get("filter") ?? "";
$("filter").addEventListener("input", () => later(restart));
$("filter").addEventListener("keydown", (event) => event.key === "Escape" && $("filter").blur());
$("filters").addEventListener("submit", (event) => event.preventDefault());
for (const button of $("states").children) button.addEventListener("click", () => toggleState(button.value));
$("next").addEventListener("click", () => turn("forward"));
$("previous").addEventListener("click", () => turn("back"));
document.addEventListener("visibilitychange", () => document.hidden || load());
setInterval(refresh, REFRESH);
await restart();
listen(hear);

/** Shows the first page for the filter in the box. */
async function restart() {
  const text = $("filter").value.trim();
  const filter = parseFilter(text);
  history.replaceState(null, "", text ? `?${new URLSearchParams({ filter: text })}` : location.pathname);
  for (const button of $("states").children) {
    button.setAttribute("aria-pressed", String(filter.states.includes(button.value)));
  }
  setText($("note"), filter.unknown.length ? `Not understood: ${filter.unknown.join(" ")}` : "");
  pager = new Pager(filter, SIZE);
  await load({ announced: true });
}

async function load({ announced = false } = {}) {
  loading?.abort();
  const mine = (loading = new AbortController());
  try {
    const found = await pager.rows(mine.signal);
    if (mine !== loading) return;
    rows = found;
    show();
    if (announced) announce(`${rows.length} streams on page ${pager.number + 1}`, { quiet: true });
    setText($("connection"), "");
  } catch (error) {
    if (!mine.signal.aborted) setText($("connection"), error.status ? error.message : "Not connected; reconnecting …");
  } finally {
    if (mine === loading) loading = null;
  }
}

function show() {
  const focused = document.activeElement?.closest?.("tr")?.dataset.key;
  table.replaceChildren(...rows.map(rowOf));
  if (focused) table.querySelector(`tr[data-key="${CSS.escape(focused)}"] a`)?.focus();
  $("empty").hidden = rows.length > 0;
  $("previous").disabled = pager.number === 0;
  $("next").disabled = !pager.hasNext;
  const from = pager.number * SIZE;
  setText($("place"), rows.length ? `${count(from + 1)} – ${count(from + rows.length)}` : "");
}

function rowOf(row) {
  const created = new Date(row.created);
  const lasted = row.ended ? span((new Date(row.ended) - created) / 1000) : "";
  const shown = members(row.metadata).map(([name, value]) =>
    h("span", { class: "member", title: `${name}: ${member(value)}` }, h("b", {}, name), member(value)),
  );
  return h(
    "tr",
    { "data-key": row.key, class: row.state },
    h("td", {}, pill(row)),
    h("td", { class: "id" }, h("a", { href: pathOf(row.id) }, row.id)),
    h("td", { class: "number" }, bytes(row.size)),
    h("td", { class: "number" }, h("time", { datetime: row.created, title: created.toLocaleString() }, age(created, Date.now()))),
    h("td", { class: "number" }, lasted),
    h("td", { class: "members" }, ...shown),
  );
}

/** Handles an event. The first page follows; later pages do not move. */
function hear({ name, row }) {
  if (name === "reset") return later(load);
  const at = rows.findIndex((known) => known.key === row.key);
  if (name === "deleted" && at >= 0) rows.splice(at, 1);
  else if (name === "changed" && at >= 0) rows[at] = row;
  else if (name === "closed" && at >= 0) {
    // It moves after the active ones, or disappears where the filter admits only those.
    rows.splice(at, 1);
    if (matches(pager.filter, row)) place(row);
  } else if (name === "created" && at < 0 && pager.number === 0 && matches(pager.filter, row)) {
    place(row);
    rows.length = Math.min(rows.length, SIZE);
  } else return;
  later(show);
}

function place(row) {
  const first = (known) =>
    ACTIVE.includes(row.state) ? true : !ACTIVE.includes(known.state) && known.created <= row.created;
  const at = rows.findIndex(first);
  rows.splice(at < 0 ? rows.length : at, 0, row);
}

/** Updates sizes and ages. A hidden page sends no requests. */
function refresh() {
  if (document.hidden || loading) return;
  if (rows.some((row) => ACTIVE.includes(row.state)) || $("connection").textContent) load();
  else show();
}

/** Loads or shows once changes pause; loading includes showing. */
function later(what) {
  if (settling && settling.what !== show && what === show) return;
  clearTimeout(settling?.timer);
  settling = { what, timer: setTimeout(() => ((settling = null), what()), SETTLE) };
}

async function turn(way) {
  if (way === "forward" ? !pager.hasNext : pager.number === 0) return;
  pager[way]();
  await load({ announced: true });
  $("list").scrollTop = 0;
}

function step(by) {
  const links = [...table.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by]?.focus();
}

function toggleState(state) {
  const text = $("filter").value.replace(/(?:^|\s)(?:state|is)[:=]\S*/g, "").trim();
  const { states } = parseFilter($("filter").value);
  const chosen = states.includes(state) ? states.filter((name) => name !== state) : [...states, state];
  $("filter").value = [text, chosen.length ? `state:${chosen.join(",")}` : ""].filter(Boolean).join(" ");
  restart();
}
