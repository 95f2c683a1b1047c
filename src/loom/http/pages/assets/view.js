/**
 * The visible lines: scrolls over any number of lines with only the visible ones in the page. Owns the position in the
 * stream and whether the view follows the end; knows nothing of the source of the lines.
 *
 * Browsers limit an element to some ten million pixels, so the scrolled element is never higher. A small step scrolls
 * by its pixels, whatever the height represents; a large one, with the scroll bar, moves to that part of the stream.
 */

const HIGHEST = 8_000_000; // pixels
const AROUND = 10; // rows kept above and below the visible ones
const SETTLE = 150; // milliseconds without a step after which the scroll bar is corrected

export class View {
  following = false;
  touched = false; // whether the reader has moved
  wrap = false;
  onfollow = () => {};
  onmove = () => {};
  #scroller;
  #space;
  #layer;
  #row;
  #height = 20;
  #total = 0;
  #anchor = 0; // the row at the top, from 0
  #shift = 0; // pixels of that row above the top
  #last = 0; // the last position of the scroller
  #frame = 0;
  #settling = 0;
  #unsettled = false; // whether the scroll bar has to be corrected with the next frame
  #rows = new Map();

  /** `row(number)` returns `{key, make}` of a line; its element is made again when the key changes. */
  constructor({ scroller, space, layer }, row) {
    [this.#scroller, this.#space, this.#layer, this.#row] = [scroller, space, layer, row];
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    scroller.addEventListener("wheel", (event) => event.deltaY < 0 && this.follow(false), { passive: true });
    new ResizeObserver(() => this.update()).observe(scroller);
  }

  /** The visible lines [first, last], from 1. */
  get seen() {
    return [this.#anchor + 1, Math.min(this.#total, this.#anchor + this.#fitting)];
  }

  get total() {
    return this.#total;
  }

  set total(total) {
    if (total === this.#total) return;
    this.#total = total;
    this.update();
  }

  /** Shows so many rows from now on, with row `top` at the top: rows before it have come or gone. */
  renumber(total, top) {
    this.#total = total;
    this.#anchor = top - 1;
    this.#unsettled = true;
    this.update();
  }

  /** Shows the current lines with the next frame. */
  update() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  /** Creates all rows again. */
  redraw() {
    this.#rows.clear();
    this.update();
  }

  follow(on) {
    if (on === this.following) return;
    this.following = on;
    this.onfollow(on);
    if (on) this.update();
  }

  /** Scrolls to a line, a third below the top, unless it is visible already. */
  goTo(line, { always = true } = {}) {
    const [first, last] = this.seen;
    if (!always && line > first + 1 && line < last - 1) return this.update();
    this.follow(false);
    this.#place(line - 1 - Math.floor(this.#fitting / 3), 0);
    this.#settle();
    this.update();
  }

  /** Scrolls until a row is at the top. */
  goToTop(row) {
    this.follow(false);
    this.#place(row - 1, 0);
    this.#settle();
    this.update();
  }

  /** Scrolls by so many pages, or to an end. */
  page(by) {
    this.touched = true;
    if (by < 0) this.follow(false);
    if (Math.abs(by) === Infinity) this.#place(by < 0 ? 0 : this.#total, 0);
    else this.#move(by * (this.#scroller.clientHeight - 2 * this.#height));
    this.#settle();
    this.update();
  }

  get #fitting() {
    return Math.max(1, Math.floor(this.#scroller.clientHeight / this.#height));
  }

  /** The height of all lines in pixels, if no line is wrapped. */
  get #whole() {
    return this.#total * this.#height;
  }

  get #farthest() {
    return Math.max(0, this.#whole - this.#scroller.clientHeight);
  }

  #place(anchor, shift) {
    const top = Math.min(Math.max(0, anchor * this.#height + shift), this.wrap ? this.#whole : this.#farthest);
    this.#anchor = Math.min(Math.floor(top / this.#height), Math.max(0, this.#total - 1));
    this.#shift = top - this.#anchor * this.#height;
  }

  #move(pixels) {
    if (!this.wrap) return this.#place(this.#anchor, this.#shift + pixels);
    this.#shift += pixels;
    while (this.#shift < 0 && this.#anchor > 0) this.#shift += this.#heightOf((this.#anchor -= 1));
    while (this.#anchor < this.#total - 1 && this.#shift >= this.#heightOf(this.#anchor)) {
      this.#shift -= this.#heightOf(this.#anchor);
      this.#anchor += 1;
    }
    this.#shift = Math.max(0, this.#shift);
  }

  #heightOf(at) {
    return this.#rows.get(at + 1)?.element.offsetHeight || this.#height;
  }

  #scrolled() {
    const scroller = this.#scroller;
    const step = scroller.scrollTop - this.#last;
    this.#last = scroller.scrollTop;
    if (Math.abs(step) < 1) return this.update(); // a sideways step, or one by this class
    const most = scroller.scrollHeight - scroller.clientHeight;
    const exact = this.wrap || this.#whole > HIGHEST;
    this.touched = true;
    if (step < 0) this.follow(false);
    if (scroller.scrollTop >= most - 1) this.#place(this.#total, 0);
    else if (scroller.scrollTop <= 0) this.#place(0, 0);
    else if (exact && Math.abs(step) < 3 * scroller.clientHeight) this.#move(step);
    else this.#place(0, (scroller.scrollTop / most) * this.#farthest);
    if (step > 0 && scroller.scrollTop >= most - 1) this.follow(true);
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#settle(), SETTLE);
    this.update();
  }

  /** Moves the scroll bar to the position. */
  #settle() {
    const scroller = this.#scroller;
    const most = Math.max(0, parseFloat(this.#space.style.height || 0) - scroller.clientHeight);
    const at = this.#farthest ? ((this.#anchor * this.#height + this.#shift) / this.#farthest) * most : 0;
    const top = Math.round(Math.min(most, Math.max(0, at)));
    if (Math.abs(scroller.scrollTop - top) > 1) scroller.scrollTop = top;
    this.#last = scroller.scrollTop;
  }

  #render() {
    const scroller = this.#scroller;
    if (!scroller.clientHeight) return;
    const measured = this.#layer.querySelector(".row:not(.wrapped)");
    if (!this.wrap && measured?.offsetHeight) this.#height = measured.offsetHeight;
    const height = `${Math.max(scroller.clientHeight, Math.min(this.#whole, HIGHEST))}px`;
    if (this.#space.style.height !== height) this.#space.style.height = height;
    this.#layer.style.height = `${scroller.clientHeight}px`;
    if (this.following) this.#place(this.#total, 0);
    else this.#place(this.#anchor, this.#shift);
    const first = Math.max(0, (this.following ? Math.min(this.#anchor, this.#total - this.#fitting) : this.#anchor) - AROUND);
    const last = Math.min(this.#total, this.#anchor + this.#fitting + AROUND);
    this.#fill(first, last);
    this.#shiftTo(first, last);
    if (this.following || this.#unsettled) this.#settle();
    this.#unsettled = false;
    this.onmove(...this.seen);
  }

  #fill(first, last) {
    const rows = new Map();
    for (let number = first + 1; number <= last; number += 1) {
      const { key, make } = this.#row(number);
      const known = this.#rows.get(number);
      rows.set(number, known && known.key === key ? known : { key, element: make() });
    }
    this.#rows = rows;
    // Rows that remain are not touched, so that marked text stays marked.
    let next = this.#layer.firstChild;
    const wanted = [...rows.values()].map((row) => row.element);
    const keep = new Set(wanted);
    for (const element of wanted) {
      while (next && !keep.has(next)) next = drop(next);
      if (next === element) next = next.nextSibling;
      else this.#layer.insertBefore(element, next);
    }
    while (next) next = drop(next);
  }

  #shiftTo(first, last) {
    let above = this.#shift;
    if (this.wrap) {
      const bottom = this.#rows.get(last)?.element;
      const end = bottom ? bottom.offsetTop + bottom.offsetHeight : 0;
      const to = this.#rows.get(this.#anchor + 1)?.element.offsetTop ?? 0;
      above += to;
      if (last === this.#total && (this.following || above > end - this.#scroller.clientHeight)) {
        above = Math.max(0, end - this.#scroller.clientHeight);
      }
    } else above += (this.#anchor - first) * this.#height;
    this.#layer.style.setProperty("--up", `${-above}px`);
  }
}

function drop(element) {
  const next = element.nextSibling;
  element.remove();
  return next;
}
