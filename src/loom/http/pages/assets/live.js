/**
 * The page of all live streams of a prefix, woven into one view: connects Weave, which has the lines, and the log.
 */

import { $, h, setText } from "./dom.js";
import { amount, idOf, pathOf } from "./format.js";
import { pill } from "./outcome.js";
import { contentOf } from "./row.js";
import { adoptLink } from "./session.js";
import { begin } from "./shell.js";
import { Weave } from "./weave.js";

const MOST = 4000; // lines in the page
const COLOURS = 10; // of names, in the style

adoptLink();
const prefix = idOf(location.pathname, "/live/");
const log = $("log");
let waiting = []; // lines that the next frame shows
let following = true;

const weave = new Weave(prefix, { line, changed });
document.title = `${prefix || "All streams"} · Loom`;
setText($("name"), `${prefix}…`);
begin([
  ["f G End", "follow the end", () => follow(true)],
  ["g Home", "go to the first line", () => (follow(false), (log.scrollTop = 0))],
  ["w", "wrap long lines", () => $("wrap").click()],
  ["x", "remove the lines", () => $("clear").click()],
]);
$("wrap").addEventListener("click", () => {
  $("wrap").setAttribute("aria-pressed", String(log.classList.toggle("wraps")));
});
$("clear").addEventListener("click", () => log.replaceChildren());
$("follow").addEventListener("click", () => follow(true));
log.addEventListener("wheel", (event) => event.deltaY < 0 && follow(false), { passive: true });
log.addEventListener("scroll", () => {
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  if (atEnd !== following && (atEnd || log.scrollTop < scrolled)) follow(atEnd);
  scrolled = log.scrollTop;
}, { passive: true });
let scrolled = 0;
weave.start();

/** Takes a line, or with `end` the row of a stream that is over. */
function line(stream, { text, style, end }) {
  if (!waiting.length) requestAnimationFrame(show);
  waiting.push({ stream, text, style, end });
  // Of more lines than the page has, only the last ones are drawn.
  if (waiting.length > 2 * MOST) waiting = waiting.slice(-MOST);
}

function show() {
  log.append(...waiting.slice(-MOST).map(rowOf));
  waiting = [];
  for (let surplus = log.childElementCount - MOST; surplus > 0; surplus -= 1) log.firstChild.remove();
  if (following) log.scrollTop = log.scrollHeight;
  scrolled = log.scrollTop;
}

function rowOf({ stream, text, style, end }) {
  const properties = { class: `name k${stream.number % COLOURS}`, href: pathOf(stream.id), title: stream.id, tabindex: -1 };
  const name = h("a", properties, stream.id.slice(prefix.length) || stream.id);
  const content = end ? h("span", { class: "x" }, pill(end)) : contentOf({ text, style, hidden: 0 }, {});
  return h("div", { class: "row" }, name, content);
}

function changed({ live, trouble }) {
  setText($("facts"), amount(live, "live stream"));
  setText($("connection"), trouble);
  $("empty").hidden = live > 0 || log.childElementCount > 0 || waiting.length > 0;
  const longest = Math.max(4, ...[...weave.streams.values()].map((stream) => stream.id.length - prefix.length));
  log.style.setProperty("--name", `${Math.min(longest, 32)}ch`);
}

function follow(on) {
  following = on;
  $("follow").hidden = on;
  if (on) log.scrollTop = log.scrollHeight;
}
