/**
 * One line as an element: its number, its time, and its text with colours, links and matches of the search. The bytes
 * of a stream become text nodes only.
 */

import { asSent, render } from "./ansi.js";
import { h } from "./dom.js";
import { bytes } from "./format.js";
import { marksOf } from "./markers.js";

const LINK = /\bhttps?:\/\/[^\s<>"'`^\u0000-\u001f]+/g;
const TRAILING = /[.,;:!?)\]}>]+$/;
const SHOWN = 10_000; // characters shown of a line
const RUNS = 1_000; // runs of a line that are shown with their styles

/** Returns the text of a line, and its runs. */
export function runsOf({ text, style }, raw) {
  const all = raw ? asSent(text) : render(text, style).runs;
  const runs = all.length > RUNS ? [...all.slice(0, RUNS), { text: all.slice(RUNS).map((run) => run.text).join(""), style: {} }] : all;
  return { runs, text: runs.map((run) => run.text).join("") };
}

/** Creates the element of a line. `line` is that of Source.line, null while it is being fetched; `time` that of Stamps. */
export function rowOf(number, line, options) {
  const row = frameOf(number, options);
  const note = line && !options.raw && options.kind ? marksOf(line.text).find((mark) => mark.note) : null;
  if (options.kind) row.classList.add(options.kind);
  if (note) {
    const content = contentOf({ ...line, text: note.text }, options);
    content.prepend(h("b", { class: `note ${note.kind}` }, note.kind));
    row.append(content);
  } else if (line) row.append(contentOf(line, options));
  else {
    row.classList.add("coming");
    row.append(h("span", { class: "x" }));
  }
  return row;
}

/** Creates a row without its text: with its number, its time, and how deep it is in sections. */
export function frameOf(number, { time, picked, depth = 0 }) {
  const indent = depth ? ` in d${Math.min(depth, 4)}` : "";
  return h(
    "div",
    { class: `row${picked ? " picked" : ""}${indent}`, "data-line": number },
    h("a", { class: "n", href: `#L${number}`, tabindex: -1, "aria-label": `Line ${number}` }, String(number)),
    time === undefined ? null : h("span", { class: "t", title: time?.title }, time?.text ?? ""),
  );
}

/** Creates the element with the text of a line. */
export function contentOf(line, { raw, find, current }, name = "x") {
  const content = h("span", { class: name });
  fill(content, line, { raw, find, current });
  return content;
}

function fill(content, line, { raw, find, current }) {
  const { runs, text } = runsOf(line, raw);
  const shown = text.slice(0, SHOWN);
  const found = find ? find(shown) : [];
  const links = linksOf(shown);
  const cuts = new Set([0, shown.length]);
  for (const { start, stop } of [...found, ...links]) cuts.add(start).add(stop);
  let at = 0;
  for (const run of runs) cuts.add((at += run.text.length));
  const borders = [...cuts].filter((cut) => cut <= shown.length).sort((a, b) => a - b);

  let run = 0;
  let ends = runs[0]?.text.length ?? 0;
  const open = { link: null, element: content };
  for (let place = 0; place < borders.length - 1; place += 1) {
    const [start, stop] = [borders[place], borders[place + 1]];
    while (start >= ends && run < runs.length - 1) ends += runs[(run += 1)].text.length;
    const { style } = runs[run];
    const link = links.find((known) => known.start <= start && stop <= known.stop)?.href ?? style.link ?? null;
    if (link !== open.link) {
      open.link = link;
      open.element = link ? h("a", { href: link, rel: "noopener noreferrer nofollow", target: "_blank", tabindex: -1 }) : content;
      if (link) content.append(open.element);
    }
    const hit = found.findIndex((known) => known.start <= start && stop <= known.stop);
    open.element.append(piece(shown.slice(start, stop), style, hit < 0 ? "" : hit === current ? "hit current" : "hit"));
  }
  const hidden = line.hidden + Math.max(0, text.length - SHOWN);
  if (hidden) content.append(h("span", { class: "more" }, ` … ${bytes(hidden)} more in this line`));
}

function piece(text, style, hit) {
  const classes = ["bold", "dim", "italic", "underline", "strike", "hidden", "control"].filter((name) => style[name]);
  let { fg, bg } = style;
  if (style.inverse) [fg, bg] = [bg ?? "back", fg ?? "text"];
  if (!hit && !classes.length && fg === undefined && bg === undefined) return document.createTextNode(text);
  const span = h("span", {}, text);
  paint(span, classes, "fg", fg, bg === undefined);
  paint(span, classes, "bg", bg);
  if (hit) classes.push(hit);
  span.className = classes.join(" ");
  return span;
}

/** Sets a colour. CSS makes a `legible` one, which has no background of its own, readable on the theme's. */
function paint(span, classes, name, colour, legible = false) {
  if (colour === undefined) return;
  classes.push(name);
  if (typeof colour === "number") span.style.setProperty(`--${name}`, `var(--c${colour})`);
  else if (colour === "back" || colour === "text") span.style.setProperty(`--${name}`, `var(--${colour})`);
  else {
    span.style.setProperty(`--${name}`, colour);
    if (legible) classes.push("legible");
  }
}

function linksOf(text) {
  if (!text.includes("://")) return [];
  return [...text.matchAll(LINK)].map((found) => {
    const href = found[0].replace(TRAILING, "");
    return { start: found.index, stop: found.index + href.length, href };
  });
}
