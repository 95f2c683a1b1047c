/**
 * The page of one stream: connects its lines, their view, the follower, the search and the selection.
 */

import { plain } from "./ansi.js";
import { getBytes } from "./api.js";
import { isBinary } from "./binary.js";
import { showBytes } from "./bytes.js";
import { $, announce, copyText, h, setText } from "./dom.js";
import { save } from "./download.js";
import { Finder } from "./finder.js";
import { Follower } from "./follow.js";
import { bytes, count, idOf, member, members, pathOf, age } from "./format.js";
import { formatLines, parseFragment } from "./fragment.js";
import { rowOf } from "./row.js";
import { adoptLink } from "./session.js";
import { begin } from "./shell.js";
import { Source } from "./source.js";
import { View } from "./view.js";

const MOST_COPIED = 16 << 20; // bytes
const FINAL = ["complete", "aborted", "gone"];

adoptLink();
const id = idOf(location.pathname);
const path = pathOf(id, "/stream/");
const options = { times: false, raw: false };
const source = new Source(path);
const known = { state: "", size: 0, connected: true };
let picked = null; // the selected lines
let target = null; // the line to show as soon as it exists
let placed = false; // whether the first line to show is known
let kind = ""; // text or binary
let edition = 0; // rises when all rows must be created again

const view = new View({ scroller: $("log"), space: $("space"), layer: $("layer") }, row);
const finder = new Finder({
  stream: () => ({ path, size: source.size, final: FINAL.includes(known.state) }),
  show: (line) => view.goTo(line, { always: false }),
  top: () => view.seen[0],
  redraw: restyle,
});
const follower = new Follower(path, source, tell);

document.title = `${id} · Loom`;
setText($("name"), id);
source.changed = grown;
view.onfollow = showFollowing;
view.onmove = moved;
begin([
  ["f G End", "follow the end", () => (view.follow(true), view.page(Infinity))],
  ["g Home", "go to the beginning", () => view.page(-Infinity)],
  ["j ArrowDown", "a line down", () => scrollBy(1)],
  ["k ArrowUp", "a line up", () => scrollBy(-1)],
  ["Space PageDown", "a page down", ({ shiftKey }) => view.page(shiftKey ? -1 : 1)],
  ["b PageUp", "a page up", () => view.page(-1)],
  ["/", "search", () => finder.open()],
  ["n", "next match", () => finder.step(1)],
  ["N", "previous match", () => finder.step(-1)],
  [":", "go to a line", askLine],
  ["t", "arrival times", () => $("times").click()],
  ["w", "wrap long lines", () => $("wrap").click()],
  ["r", "raw: show control characters", () => $("raw").click()],
  ["c", "copy the selected lines, or the visible ones", () => $("copy").click()],
  ["Escape", "clear the selection", () => pick(null)],
]);
listen();
pick(parseFragment(location.hash).lines, { go: true });
follower.start();

/** Shows what the follower reports of the stream. */
function tell(news) {
  Object.assign(known, news);
  if (news.state) {
    const { state } = known;
    $("state").className = `state ${state}`;
    if ($("state").textContent !== state) announce(`The stream is ${state}`, { quiet: true });
    setText($("state"), state);
    const why = known.reason || (state === "gone" ? "This stream was deleted or replaced." : "");
    $("reason").hidden = !((state === "aborted" || state === "gone") && why);
    setText($("reason"), why);
    if (FINAL.includes(state)) grown();
    showFollowing();
  }
  if (news.metadata !== undefined) showMetadata(news.metadata);
  if (news.connected !== undefined) {
    setText($("connection"), news.connected ? "" : known.trouble || "Connection lost; reconnecting …");
  }
  if (news.caught) decide();
  facts();
}

/** Decides where to begin, once the stream is known. */
function decide() {
  grown();
  if (placed) return;
  placed = true;
  if (!target && known.state !== "complete") view.follow(true);
}

function grown() {
  view.total = source.lines;
  view.update();
  if (!kind && source.size) look();
  if (target && source.lines >= target) {
    const line = target;
    target = null;
    placed = true;
    view.goTo(line);
  }
  finder.grow();
  facts();
}

/** Decides by the first bytes whether the stream is text. */
async function look() {
  kind = "text";
  const start = await getBytes(path, 0, 64 << 10).catch(() => null);
  if (!start) kind = ""; // the server is lost: decide once it is back
  if (!start || !isBinary(start)) return;
  kind = "binary";
  $("log").hidden = true;
  showBytes($("binary"), { start, known, source }, () => {
    $("binary").hidden = true;
    $("log").hidden = false;
    view.redraw();
  });
}

/** Returns a row of the view. */
function row(number) {
  const line = source.line(number);
  const time = options.times ? source.time(number) : undefined;
  const chosen = picked !== null && number >= picked[0] && number <= picked[1];
  const marks = finder.marks(number);
  const key = `${edition} ${line ? line.text.length + line.hidden : "-"} ${time} ${chosen} ${marks.current}`;
  return { key, make: () => rowOf(number, line, { raw: options.raw, time, picked: chosen, ...marks }) };
}

function restyle() {
  edition += 1;
  view.update();
}

let asking = 0;

function moved(first, last) {
  source.want(Math.max(1, first - 20), last + 20);
  $("layer").style.setProperty("--digits", String(source.lines).length);
  if (!options.times || !last) return;
  clearTimeout(asking);
  asking = setTimeout(() => source.learnTimes(first, last + 1).then(() => view.update(), () => {}), 200);
}

function facts() {
  const parts = [`${count(source.lines)} lines`, bytes(Math.max(source.size, known.size ?? 0))];
  if (source.created) parts.push(age(source.created, Date.now()));
  setText($("facts"), parts.join(" · "));
}

function showMetadata(metadata) {
  const all = members(metadata).map(([name, value]) => h("span", { class: "member" }, h("b", {}, name), member(value)));
  $("metadata").replaceChildren(...all);
  $("metadata").hidden = !all.length;
}

function showFollowing() {
  $("follow").hidden = view.following || FINAL.includes(known.state) || kind === "binary";
  $("follow").setAttribute("aria-pressed", String(view.following));
}

/** Selects lines, and puts them in the address. */
function pick(lines, { go = false } = {}) {
  picked = lines;
  const fragment = formatLines(lines);
  if (location.hash !== fragment) history.replaceState(null, "", fragment || location.pathname + location.search);
  if (lines && go) {
    target = lines[0];
    if (source.lines >= target) grown();
    else if (placed) announce(`Line ${target} does not exist yet`);
  }
  view.update();
}

function listen() {
  addEventListener("hashchange", () => {
    adoptLink();
    pick(parseFragment(location.hash).lines, { go: true });
  });
  $("layer").addEventListener("click", (event) => {
    const number = event.target.closest(".n");
    if (!number || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const line = Number(number.parentElement.dataset.line);
    const from = event.shiftKey && picked ? picked[0] : line;
    pick([Math.min(from, line), Math.max(from, line)]);
  });
  document.addEventListener("keydown", (event) => {
    // Pressed again, the keys open the browser's own search.
    if ((event.ctrlKey || event.metaKey) && event.key === "f" && document.activeElement !== $("find")) {
      event.preventDefault();
      finder.open();
    }
  });
  $("search").addEventListener("click", () => finder.open());
  $("follow").addEventListener("click", () => view.follow(true));
  $("copy").addEventListener("click", () => copy().catch((error) => announce(error.message)));
  $("download").addEventListener("click", () => save(path, id, source.size).catch((error) => announce(error.message)));
  for (const name of ["times", "raw"]) toggle(name, (on) => ((options[name] = on), restyle()));
  toggle("wrap", (on) => {
    view.wrap = on;
    $("log").classList.toggle("wraps", on);
    view.redraw();
  });
}

function toggle(name, set) {
  $(name).addEventListener("click", () => {
    const on = $(name).getAttribute("aria-pressed") !== "true";
    $(name).setAttribute("aria-pressed", String(on));
    set(on);
  });
}

async function copy() {
  const [first, last] = picked ?? view.seen;
  const [start, stop] = await source.span(first, Math.min(last, source.lines));
  if (stop - start > MOST_COPIED) throw new Error(`The lines have ${bytes(stop - start)}: download the stream.`);
  const text = new TextDecoder().decode(await getBytes(path, start, stop));
  await copyText(text.split("\n").map((line) => plain(line)).join("\n"));
  announce(first === last ? `Line ${first} copied` : `Lines ${first} to ${last} copied`);
}

function scrollBy(lines) {
  $("log").scrollTop += lines * 20;
}

function askLine() {
  const input = h("input", { type: "number", min: 1, max: Math.max(1, source.lines), id: "line", required: true });
  const dialog = h(
    "dialog",
    { "aria-labelledby": "line-label", onclose: () => (dialog.remove(), input.value && dialog.returnValue === "go" && pick([Number(input.value), Number(input.value)], { go: true })) },
    h("form", { method: "dialog" }, h("label", { for: "line", id: "line-label" }, `Line, 1 to ${count(source.lines)}`), input, h("p", {}, h("button", { class: "primary", value: "go" }, "Go"))),
  );
  document.body.append(dialog);
  dialog.showModal();
}
