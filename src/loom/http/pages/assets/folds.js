/**
 * Which lines are hidden, and so which row of the view shows which line. Pure.
 */

import { lastIndex } from "./bisect.js";

export class Folds {
  #ranges = []; // [first, last] of hidden lines, in order, apart
  #before = []; // how many lines are hidden before each range

  /** `hidden` are ranges [first, last] in order of their first lines; they may overlap. */
  constructor(hidden = []) {
    for (const [first, last] of hidden) {
      const range = this.#ranges.at(-1);
      if (last < first) continue;
      if (range && first <= range[1] + 1) range[1] = Math.max(range[1], last);
      else this.#ranges.push([first, last]);
    }
    let hiddenLines = 0;
    for (const [first, last] of this.#ranges) {
      this.#before.push(hiddenLines);
      hiddenLines += last - first + 1;
    }
  }

  /** Returns how many rows show lines 1 to `lines`. */
  rows(lines) {
    const at = this.#index((range) => this.#ranges[range][0] <= lines);
    if (at < 0) return lines;
    const [first, last] = this.#ranges[at];
    return lines - this.#before[at] - (Math.min(lines, last) - first + 1);
  }

  /** Returns the row of a line, or of the last line shown before it. */
  rowOf(line) {
    return Math.max(1, this.rows(line));
  }

  /** Returns the line that a row shows. */
  lineAt(row) {
    const at = this.#index((range) => this.#ranges[range][0] - this.#before[range] <= row);
    if (at < 0) return row;
    return row + this.#before[at] + this.#ranges[at][1] - this.#ranges[at][0] + 1;
  }

  hides(line) {
    const at = this.#index((range) => this.#ranges[range][0] <= line);
    return at >= 0 && line <= this.#ranges[at][1];
  }

  /** Returns the last range for which `test` holds. */
  #index(test) {
    return lastIndex(this.#ranges.length, test);
  }
}

/** Returns the folds of an outline; `isOpen(section)` says which sections are shown open. */
export function foldsOf({ sections, hidden }, isOpen) {
  const ranges = hidden.map((line) => [line, line]);
  let until = 0; // the last line hidden by a section
  for (const section of sections) {
    if (section.line <= until || isOpen(section)) continue;
    until = section.last ?? Infinity;
    ranges.push([section.line + 1, until]);
  }
  return new Folds(ranges.sort(([one], [other]) => one - other));
}
