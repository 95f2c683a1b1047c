/**
 * The outline of a stream: its sections, errors and warnings, from the marks of its lines in order. Pure.
 *
 * A section is `{line, offset, title, form, name, parent, last, end, errors, warnings, time, took, folded, expanded}`: it
 * has the lines `line` to `last`; `last` and `end` (an offset) are null while it is not closed. `marked` says that the last
 * line is nothing but its end. `took` is in seconds, where the markers say it themselves.
 */

import { lastIndex } from "./bisect.js";

const MOST = 100_000; // marks that are kept
const DEEPEST = 50; // sections within each other
const NEAR = 200; // lines within which an exception belongs to the traceback before it

export class Outline {
  sections = []; // by line
  errors = []; // the first line of each, sorted
  warnings = 0;
  hidden = []; // lines with nothing but the end of a section, sorted
  #kinds = new Map(); // lines to error, warning or notice
  #open = []; // sections, the innermost last
  #last = null; // the last error: {line, form, block}
  #count = 0;
  #grouped = false; // whether sections are marked by another system than Buildkite

  /** True if marks are missing, because there are too many. */
  get full() {
    return this.#count >= MOST;
  }

  /** Adds the marks of a line at an offset. */
  add(line, offset, marks) {
    if (this.full) return;
    this.#count += marks.length;
    for (const mark of marks) {
      if (mark.kind === "open") this.#begin(line, offset, mark);
      else if (mark.kind === "close") this.#close(line, offset, mark);
      else if (mark.kind === "reopen") this.#reopen(line, mark);
      else if (mark.kind === "hunk") this.#withdraw(line);
      else this.#note(line, mark);
    }
  }

  /** Returns `error`, `warning`, `notice` or undefined. */
  kindOf(line) {
    return this.#kinds.get(line);
  }

  /** Returns the section that begins at a line, undefined if there is none. */
  at(line) {
    const section = this.sections[this.#before(line)];
    return section?.line === line ? section : undefined;
  }

  /** Returns the sections around a line, the innermost first; one that begins there is not around it. */
  around(line) {
    const found = [];
    for (let each = this.sections[this.#before(line - 1)]; each; each = each.parent) {
      if (each.last === null || each.last >= line) found.push(each);
    }
    return found;
  }

  #begin(line, offset, { form, name, title, time = null, folded = false, expanded = false }) {
    if (form === "buildkite") {
      // Where another system marks its sections, such lines are ordinary output.
      if (this.#grouped) return;
      while (this.#open.at(-1)?.form === "buildkite") this.#end(line - 1, offset);
    }
    this.#grouped ||= form !== "buildkite";
    if (this.#open.length >= DEEPEST) return;
    const section = { line, offset, title, form, name, time, folded, expanded };
    const parent = this.#open.at(-1) ?? null;
    Object.assign(section, { parent, last: null, end: null, errors: 0, warnings: 0, took: null, marked: false });
    this.sections.push(section);
    this.#open.push(section);
  }

  #close(line, offset, { form, name, time, bare }) {
    const at = this.#open.findLastIndex((each) => each.form === form && each.name === name);
    if (at < 0) return; // the end of nothing is text
    const section = this.#open[at];
    // GitLab's next section may begin on the line that ends this one.
    const last = bare ? line : line - 1;
    while (this.#open.length > at) this.#end(last, offset);
    if (time && section.time !== null) section.took = Math.max(0, time - section.time);
    if (!bare) return;
    this.hidden.push(line);
    section.marked = true;
  }

  #end(last, offset) {
    const section = this.#open.pop();
    Object.assign(section, { last: Math.max(section.line, last), end: offset });
  }

  #reopen(line, { bare }) {
    const section = this.#open.at(-1);
    if (section?.form !== "buildkite") return;
    section.expanded = true;
    if (bare) this.hidden.push(line);
  }

  /** Takes back the sections of the two lines before the first part of a diff: they are names of files. */
  #withdraw(line) {
    while (this.#open.at(-1)?.form === "buildkite" && this.#open.at(-1).line >= line - 2) {
      const section = this.#open.pop();
      this.sections.pop();
      const before = this.sections.at(-1);
      if (before?.form === "buildkite" && before.last === section.line - 1 && before.end === section.offset) {
        Object.assign(before, { last: null, end: null });
        this.#open.push(before);
      }
    }
  }

  #note(line, { kind, form, block, note }) {
    this.#kinds.set(line, kind);
    if (kind === "notice") return;
    if (kind === "warning") this.warnings += 1;
    if (kind === "error") {
      const before = this.#last;
      const same = form === before?.form && block && line === before.line + 1;
      const tail = form === "exception" && before?.form === "traceback" && line - before.line <= NEAR;
      this.#last = { line, form: note ? "note" : form };
      if (same || tail) return;
      this.errors.push(line);
    }
    for (const section of this.#open) section[`${kind}s`] += 1;
  }

  #before(line) {
    return lastIndex(this.sections.length, (at) => this.sections[at].line <= line);
  }
}

/**
 * Returns whether a section is shown open, unless the reader has chosen: it is the current one, holds an error, or its
 * producer wished so. `went` says how the stream went: `live`, `well` or `badly`.
 */
export function isOpen(section, went) {
  if (section.errors || section.expanded) return true;
  return section.last === null && went !== "well";
}
