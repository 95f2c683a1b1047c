/**
 * The sections of a stream's output: which are open, by the outline and by the reader's choice, and so which row of the
 * view shows which line. Owns the reader's choices.
 */

import { Folds, foldsOf } from "./folds.js";
import { Outline, isOpen } from "./outline.js";
import { Scanner } from "./scanner.js";

const SETTLE = 100; // milliseconds between two changes while the outline grows

export class Sections {
  outline = new Outline();
  folds = new Folds();
  onchange = () => {}; // called with the folds before, when other lines are hidden or errors were found
  #chosen = new Map(); // whether the section at a line is open
  #timer = 0;

  /** `known` has what the follower has reported; `reading()` returns the lines that the reader looks at. */
  constructor(source, known, reading) {
    Object.assign(this, { source, known, reading });
    this.scanner = new Scanner(source.path, this.outline, () => this.#grown());
    source.onbytes = (bytes) => this.scanner.feed(bytes);
    source.onskip = ({ line, offset }) => this.scanner.skip(line, offset);
  }

  isOpen(section) {
    return this.#chosen.get(section.line) ?? isOpen(section, this.#went);
  }

  /** Opens or closes the section at a line, or if it begins none, closes that around it. */
  toggle(line) {
    const section = this.outline.at(line) ?? this.outline.around(line)[0];
    if (section) this.#choose([section], !this.isOpen(section));
    return section;
  }

  /** Opens all sections, or closes them if all are open. */
  toggleAll() {
    const { sections } = this.outline;
    this.#choose(sections, sections.some((section) => !this.isOpen(section)));
  }

  /** Opens the sections around a line. */
  reveal(line) {
    if (this.folds.hides(line)) this.#choose(this.outline.around(line), true);
  }

  /** Decides again. `plain` hides nothing; `chosen` says that the reader wants it. */
  refold({ plain = this.plain, chosen = false } = {}) {
    this.plain = plain;
    clearTimeout(this.#timer);
    this.#timer = 0;
    const folds = plain ? new Folds() : foldsOf(this.outline, (section) => this.isOpen(section));
    // What the reader looks at stays open when its section ends.
    const lost = this.reading().find((line) => folds.hides(line) && !this.folds.hides(line));
    const closed = lost ? this.outline.around(lost).filter((section) => !this.isOpen(section)) : [];
    if (closed.length && !chosen) return this.#choose(closed, true);
    const before = this.folds;
    this.folds = folds;
    this.onchange(before);
  }

  /** Returns the seconds that a section took, as far as it has come; null if that is unknown. */
  took({ took, offset, end }) {
    if (took !== null) return took;
    const [from, to] = [offset, end ?? this.source.size - 1].map((each) => this.source.arrivalAt(each)?.time);
    return from === undefined || to === undefined ? null : (to - from) / 1000;
  }

  get #went() {
    const { state, outcome } = this.known;
    if (state !== "complete" && state !== "aborted") return "live";
    return state === "complete" && outcome !== "failure" ? "well" : "badly";
  }

  #choose(sections, open) {
    for (const { line } of sections) this.#chosen.set(line, open);
    this.refold({ chosen: true });
  }

  #grown() {
    this.#timer ||= setTimeout(() => this.refold(), this.scanner.busy ? SETTLE : 0);
  }
}
