/**
 * The page that lists streams: connects the filter box, the folders, the pages of the list and the events.
 */

import { chooseColumns, columnsOf } from "./columns.js";
import { $, announce, h, setText } from "./dom.js";
import { showEmpty } from "./empty.js";
import { grow, showEntries } from "./entries.js";
import { listen } from "./events.js";
import { ACTIVE, OUTCOMES, completions, matches, narrows, parseFilter } from "./filter.js";
import { COUNTED, Folders, hrefOf, total } from "./folders.js";
import { amount, count } from "./format.js";
import { Pager } from "./pager.js";
import { adoptLink } from "./session.js";
import { begin } from "./shell.js";

const SIZE = 100; // rows per page
const SETTLE = 150; // milliseconds for which changes and key presses are gathered
const REFRESH = 5000; // milliseconds between two requests for the sizes of live streams
const PAUSE = 50; // between two counts, in times that the count takes: a large store is counted rarely
const LONGEST = 10_000; // milliseconds between two counts: the first may have been slow by chance

const address = new URLSearchParams(location.search);
const prefix = address.get("in") ?? "";
let pager;
let rows = [];
let matching = 0; // how many streams match, as far as they are counted
let loading = null;
let counting = 0; // milliseconds that the last count took
let counted = false; // whether the newest request for a count ended; it may be aborted or fail
const waiting = new Map(); // what is to be done, with its timer

adoptLink();
begin([
  ["/", "filter", () => $("filter").select()],
  ["j ArrowDown", "next stream", () => step(1)],
  ["k ArrowUp", "previous stream", () => step(-1)],
  ["Enter", "open the stream"],
  ["u", "up to the folder above", up],
  ["n", "next page", () => turn("forward")],
  ["p", "previous page", () => turn("back")],
]);
const folders = new Folders(prefix);
$("filter").value = address.get("filter") ?? "";
$("filter").addEventListener("input", () => (complete(), later(restart)));
$("filter").addEventListener("keydown", (event) => event.key === "Escape" && $("filter").blur());
$("filters").addEventListener("submit", (event) => event.preventDefault());
for (const button of $("states").children) button.addEventListener("click", () => toggle(button.value));
$("columns").addEventListener("click", () => chooseColumns(rows, show));
$("next").addEventListener("click", () => turn("forward"));
$("previous").addEventListener("click", () => turn("back"));
document.addEventListener("visibilitychange", () => document.hidden || recount());
setInterval(refresh, REFRESH);
setInterval(() => document.hidden || grow(), 1000);
await restart();
listen(hear);

/** Shows the first page for the filter in the box. */
async function restart() {
  const text = $("filter").value.trim();
  const filter = parseFilter(text, prefix);
  const query = new URLSearchParams({ ...(prefix && { in: prefix }), ...(text && { filter: text }) });
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  const named = [...filter.states, ...filter.outcomes];
  for (const button of $("states").children) button.setAttribute("aria-pressed", String(named.includes(button.value)));
  pager = new Pager(filter, SIZE);
  counted = false;
  await load({ announced: true });
}

/** Requests this page of the list, and the counts if they are due. */
async function load({ announced = false } = {}) {
  loading?.abort();
  const mine = (loading = new AbortController());
  const { filter } = pager;
  try {
    const [found] = await Promise.all([pager.rows(mine.signal), counted || countAll(filter, mine.signal)]);
    if (mine !== loading) return;
    rows = found;
    show();
    if (announced) announce(`${amount(rows.length, "stream")} on page ${pager.number + 1}`, { quiet: true });
    setText($("connection"), "");
  } catch (error) {
    if (!mine.signal.aborted) setText($("connection"), error.status ? error.message : "Not connected; reconnecting …");
  } finally {
    if (mine === loading) loading = null;
  }
}

async function countAll(filter, signal) {
  const begun = Date.now();
  if (narrows(filter) || filter.errors.length) matching = await pager.total(signal);
  else {
    await folders.load(signal);
    matching = folders.count;
  }
  counting = Date.now() - begun;
  counted = true;
}

function show() {
  const { filter } = pager;
  showEmpty(rows.length === 0, filter, () => (($("filter").value = ""), restart()));
  showEntries(rows, columnsOf(rows), prefix);
  folders.hide(narrows(filter) || filter.errors.length > 0);
  $("previous").disabled = pager.number === 0;
  $("next").disabled = !pager.hasNext;
  const from = pager.number * SIZE;
  // Streams that are created meanwhile are seen before they are counted.
  const all = Math.max(matching, from + rows.length);
  const one = pager.number === 0 && !pager.hasNext;
  setText($("place"), rows.length && !one ? `${count(from + 1)}–${count(from + rows.length)} of ${total(all)}` : "");
  setText($("total"), rows.length ? `${total(all)} ${all === 1 ? "stream" : "streams"}` : "");
  document.querySelector(".foot").hidden = one;
}

/** Handles an event. The first page follows; later pages do not move. */
function hear({ name, row }) {
  if (name === "reset") return later(recount);
  const fits = matches(pager.filter, row);
  const at = rows.findIndex((known) => known.key === row.key);
  if (fits && name === "created" && matching < COUNTED) matching += 1;
  if (name === "deleted" && at >= 0) rows.splice(at, 1);
  else if (name === "changed" && at >= 0) rows[at] = row;
  else if (name === "closed" && at >= 0) {
    // It moves after the active ones, or disappears where the filter admits only those.
    rows.splice(at, 1);
    if (fits) place(row);
  } else if ((name === "created" || name === "closed" || name === "changed") && at < 0 && pager.number === 0 && fits) {
    place(row);
    rows.length = Math.min(rows.length, SIZE);
  } else if (!row.id.startsWith(prefix)) return;
  later(name === "changed" ? show : recent);
}

/** Shows the changes at once, and soon the folders and the counts. */
function recent() {
  show();
  later(recount, Math.min(LONGEST, Math.max(REFRESH / 2, PAUSE * counting)));
}

function recount() {
  counted = false;
  return load();
}

function place(row) {
  const first = (known) =>
    ACTIVE.includes(row.state) ? true : !ACTIVE.includes(known.state) && known.created <= row.created;
  const at = rows.findIndex(first);
  rows.splice(at < 0 ? rows.length : at, 0, row);
}

/** Updates the sizes of live streams. A hidden page sends no requests. */
function refresh() {
  if (document.hidden || loading) return;
  if (rows.some((row) => ACTIVE.includes(row.state)) || $("connection").textContent) load();
}

/** Does something after a while: once for all events until then, and for keys once they pause. */
function later(what, wait = SETTLE) {
  if (what === restart) clearTimeout(waiting.get(what));
  else if (waiting.has(what)) return;
  waiting.set(what, setTimeout(() => (waiting.delete(what), what()), wait));
}

async function turn(way) {
  if (way === "forward" ? !pager.hasNext : pager.number === 0) return;
  pager[way]();
  await load({ announced: true });
  $("list").scrollTop = 0;
}

function step(by) {
  const links = [...$("rows").querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by]?.focus();
}

function up() {
  if (prefix) location.assign(hrefOf(prefix.slice(0, prefix.lastIndexOf("/", prefix.length - 2) + 1)));
}

/** Filters by one state or outcome, or no longer. */
function toggle(word) {
  const text = $("filter").value;
  const { states, outcomes } = parseFilter(text);
  const rest = text.replace(/(?:^|\s)(?:state|outcome|is)[:=]\S*/g, "").trim();
  const chosen = [...states, ...outcomes].includes(word) ? "" : `${OUTCOMES.includes(word) ? "outcome" : "state"}:${word}`;
  $("filter").value = [rest, chosen].filter(Boolean).join(" ");
  restart();
}

function complete() {
  $("words").replaceChildren(...completions($("filter").value, rows).map((value) => h("option", { value })));
}
