/**
 * The output of a stream: its visible lines, how they are shown, and whether they are text at all. Owns the view, the
 * search and the choices of the reader.
 */

import { getBytes } from "./api.js";
import { isBinary } from "./binary.js";
import { showBytes } from "./bytes.js";
import { $, announce } from "./dom.js";
import { Errors } from "./errors.js";
import { Finder } from "./finder.js";
import { FINAL } from "./header.js";
import { headingOf } from "./heading.js";
import { rowOf } from "./row.js";
import { Sections } from "./sections.js";
import { Stamps } from "./stamps.js";
import { View } from "./view.js";

export class Output {
  picked = null; // the selected lines
  #raw = false;
  #kind = ""; // text or binary
  #reached = 0; // the line of the title that had the focus last
  #edition = 0; // rises when all rows must be created again
  onoutline = () => {}; // called when more of the outline is known

  constructor(path, source, known) {
    Object.assign(this, { path, source, known });
    this.view = new View({ scroller: $("log"), space: $("space"), layer: $("layer") }, (number) => this.#row(number));
    this.view.onfollow = () => this.showFollowing();
    this.view.onmove = (first, last) => this.#moved(first, last);
    this.finder = new Finder({
      stream: () => ({ path, size: source.size, open: source.tail.open.offset }),
      show: (line) => this.show(line, { always: false }),
      top: () => this.#top,
      redraw: () => this.#restyle(),
    });
    $("search").addEventListener("click", () => this.finder.open());
    $("follow").addEventListener("click", () => this.view.follow(true));
    this.stamps = new Stamps(source, () => this.view.update());
    this.sections = new Sections(source, known, () => this.#reading());
    this.errors = new Errors(this.sections.outline, () => this.seen);
    this.sections.onchange = (folds) => this.#refolded(folds);
    $("layer").addEventListener("click", (event) => this.#clicked(event));
    $("layer").addEventListener("focusin", () => this.#rove());
    toggle("raw", (on) => {
      this.#raw = on;
      this.#edition += 1;
      this.sections.refold({ plain: on });
    });
    toggle("wrap", (on) => {
      this.view.wrap = on;
      $("log").classList.toggle("wraps", on);
      this.view.redraw();
    });
  }

  /** Shows the lines that the source has now. */
  grow() {
    this.view.total = this.sections.folds.rows(this.source.lines);
    this.view.update();
    if (!this.#kind && this.source.size) this.#look();
    this.finder.grow();
  }

  /** The visible lines [first, last]. */
  get seen() {
    return this.view.seen.map((row) => this.sections.folds.lineAt(row));
  }

  /** Scrolls to a line, and opens the sections around it. */
  show(line, options) {
    this.sections.reveal(line);
    this.view.goTo(this.sections.folds.rowOf(line), options);
    this.view.update();
  }

  /** Returns the lines that must not disappear: the selected one, the match, and where the reader has scrolled to. */
  #reading() {
    const { view, finder, picked } = this;
    return [picked?.[0], finder.line, view.touched && !view.following && this.#top].filter(Boolean);
  }

  /** Opens or closes the section with the focus, of the selected lines or at the top. */
  fold() {
    const focused = document.activeElement.closest(".section")?.dataset.line;
    const [first, last] = this.seen;
    const picked = this.picked && this.picked[0] >= first && this.picked[0] <= last ? this.picked[0] : first;
    const section = this.sections.toggle(Number(focused ?? picked));
    if (!section) return announce("No section here");
    this.#focus(section.line);
  }

  /** Moves to the next or the previous section. */
  stepSection(by) {
    const { sections } = this.sections.outline;
    const shown = sections.filter(({ line }) => !this.sections.folds.hides(line));
    const from = Number(document.activeElement.closest(".section")?.dataset.line ?? this.#top);
    const found = by > 0 ? shown.find(({ line }) => line > from) : shown.findLast(({ line }) => line < from);
    if (!found) return announce(by > 0 ? "No section below" : "No section above");
    this.view.touched = true;
    this.view.goToTop(this.sections.folds.rowOf(found.line));
    this.#focus(found.line);
  }

  #clicked({ target }) {
    const button = target.closest(".fold");
    if (!button) return;
    const line = Number(button.closest(".row").dataset.line);
    this.view.touched = true;
    this.sections.toggle(line);
    this.#focus(line);
  }

  /** Moves the focus to the title of a section, whose element is made again with the next frame. */
  #focus(line) {
    this.view.update();
    requestAnimationFrame(() => $("layer").querySelector(`[data-line="${line}"] .fold`)?.focus({ preventScroll: true }));
  }

  showFollowing() {
    const { following } = this.view;
    $("follow").hidden = following || FINAL.includes(this.known.state) || this.#kind === "binary";
    $("follow").setAttribute("aria-pressed", String(following));
  }

  /** Decides by the first bytes whether the stream is text. */
  async #look() {
    this.#kind = "text";
    const start = await getBytes(this.path, 0, 64 << 10).catch(() => null);
    if (!start) this.#kind = ""; // the server is lost: decide once it is back
    if (!start || !isBinary(start)) return;
    this.#kind = "binary";
    $("log").hidden = true;
    showBytes($("binary"), { start, known: this.known, source: this.source }, () => {
      $("binary").hidden = true;
      $("log").hidden = false;
      this.view.redraw();
    });
  }

  /** Returns a row of the view. */
  #row(row) {
    const { source, picked, sections } = this;
    const { folds, outline } = sections;
    const number = folds.lineAt(row);
    const line = source.line(number);
    const time = this.stamps.of(number);
    const section = this.#raw ? undefined : outline.at(number);
    const options = {
      raw: this.#raw, time, ...this.finder.marks(number), depth: this.#raw ? 0 : outline.around(number).length,
      picked: picked !== null && number >= picked[0] && number <= picked[1], kind: outline.kindOf(number),
    };
    const open = section && sections.isOpen(section);
    const took = section && sections.took(section);
    const { kind, depth, current } = options;
    const state = section ? `${open} ${took} ${section.errors} ${section.warnings} ${section.last}` : kind;
    const size = line ? line.text.length + line.hidden : "-";
    const key = `${this.#edition} ${number} ${size} ${time && time.text} ${options.picked} ${current} ${depth} ${state}`;
    if (section) return { key, make: () => headingOf(section, { ...options, open, took, lines: source.lines }) };
    return { key, make: () => rowOf(number, line, options) };
  }

  #restyle() {
    this.#edition += 1;
    this.view.update();
  }

  /** The line at the top. */
  get #top() {
    return this.seen[0];
  }

  /** Shows other lines, with the same one at the top, which it is by the folds `before`. */
  #refolded(before) {
    const { folds } = this.sections;
    const top = before.lineAt(this.view.seen[0]);
    this.view.renumber(folds.rows(this.source.lines), folds.rowOf(top));
    this.errors.report();
    this.onoutline();
  }

  #moved(first, last) {
    const { outline } = this.sections;
    this.#wanted(Math.max(1, first - 20), last + 20);
    $("layer").style.setProperty("--digits", String(this.source.lines).length);
    this.stamps.learn({ needed: outline.sections.length > 0 });
    this.#rove();
  }

  /** Lets the Tab key reach one title: the last one that had the focus if it is visible, else the first visible one. */
  #rove() {
    const [first, last] = this.seen;
    const lineOf = (title) => Number(title.closest(".row").dataset.line);
    const titles = [...$("layer").querySelectorAll(".fold")];
    const visible = titles.filter((title) => lineOf(title) >= first && lineOf(title) <= last);
    const focused = titles.find((title) => title === document.activeElement);
    if (focused) this.#reached = lineOf(focused);
    const reached = focused ?? visible.find((title) => lineOf(title) === this.#reached) ?? visible[0];
    for (const title of titles) title.tabIndex = title === reached ? 0 : -1;
  }

  /** Fetches the lines that rows [first, last] show, but those of titles, which are known. */
  #wanted(first, last) {
    const { folds, outline } = this.sections;
    for (let row = first; row <= last; row += 1) {
      const from = folds.lineAt(row);
      if (!this.#raw && outline.at(from)) continue;
      let to = from;
      while (row < last && folds.lineAt(row + 1) === to + 1) [row, to] = [row + 1, to + 1];
      this.source.want(from, to);
    }
  }
}

function toggle(name, set) {
  $(name).addEventListener("click", () => {
    const on = $(name).getAttribute("aria-pressed") !== "true";
    $(name).setAttribute("aria-pressed", String(on));
    set(on);
  });
}
