/**
 * The browser's tab of a stream: title and icon show how the stream stands, and on request a notification its end. Owns
 * the button of the notification.
 */

import { $, announce } from "./dom.js";
import { span } from "./format.js";
import { SIGNS, detailOf, wordOf } from "./outcome.js";

/** Colour and shape by the word for a stream; the shape is drawn on 16 x 16 units around the origin. */
const MARKS = {
  live: ["#22a55b", ""],
  open: ["#3b82f6", ""],
  interrupted: ["#d08a1a", "M-4 0h.1M0 0h.1M4 0h.1"],
  complete: ["#64748b", "M-3-3h6v6h-6z"],
  success: ["#15803d", "M-4 .5l3 3 5-6"],
  failure: ["#dc2626", "M-3.5-3.5l7 7m0-7l-7 7"],
  cancelled: ["#64748b", "M-3.5 3.5l7-7"],
  skipped: ["#64748b", "M-4-3l3 3-3 3M1-3l3 3-3 3"],
  aborted: ["#b45309", "M0-4.5v5M0 4v.1"],
  gone: ["#64748b", "M-3.5-3.5l7 7m0-7l-7 7"],
};
const FINAL = ["complete", "aborted"];

export class Tab {
  wanted = false; // whether the end shall be notified
  #word = null;

  constructor(id, known) {
    Object.assign(this, { id, known });
    $("notify").addEventListener("click", () => this.#toggle());
    this.show();
  }

  /** Shows the state that is known. */
  show() {
    const { known, id } = this;
    const word = wordOf(known);
    const mark = MARKS[word];
    $("notify").hidden = !("Notification" in globalThis) || !mark || known.state === "gone" || FINAL.includes(known.state);
    if (word === this.#word) return;
    const news = this.#word && FINAL.includes(known.state) && this.wanted;
    this.#word = word;
    document.title = `${mark ? `${SIGNS[word]} ` : ""}${id} · Loom`;
    if (mark) document.querySelector("link[rel=icon]").href = iconOf(mark);
    if (news) this.#notify(word, mark);
  }

  async #toggle() {
    const granted = this.wanted || (await Notification.requestPermission()) === "granted";
    if (!granted) return announce("This browser does not allow notifications from here.");
    this.wanted = !this.wanted;
    $("notify").setAttribute("aria-pressed", String(this.wanted));
    announce(this.wanted ? "You will be notified of the end, also if this tab is in the background." : "No notification");
    return undefined;
  }

  #notify(word, mark) {
    this.wanted = false;
    $("notify").setAttribute("aria-pressed", "false");
    const { created, ended } = this.known;
    const took = ended ? ` after ${span((Date.parse(ended) - Date.parse(created)) / 1000)}` : "";
    const detail = detailOf(this.known);
    const options = { body: `${word}${took}${detail ? `: ${detail}` : ""}`, tag: this.id, icon: iconOf(mark) };
    try {
      const notification = new Notification(`${SIGNS[word]} ${this.id}`, options);
      notification.addEventListener("click", () => (window.focus(), notification.close()));
    } catch {
      announce(options.body); // a browser that notifies only from a service worker
    }
  }
}

/** Returns an icon as an address: a coloured disc with a shape. */
function iconOf([colour, shape]) {
  const stroke = 'fill="none" stroke="#fff" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round"';
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -8 16 16"><circle r="7.5" fill="${colour}"/><path d="${shape || "M0 0"}" ${stroke}/></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
