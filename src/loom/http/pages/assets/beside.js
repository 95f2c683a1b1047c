/**
 * A second stream beside the output, to be read and followed. Owns its pane, and its id in the page's address.
 */

import { getBytes } from "./api.js";
import { isBinary } from "./binary.js";
import { $, h } from "./dom.js";
import { Follower } from "./follow.js";
import { amount, bytes, pathOf } from "./format.js";
import { showPill } from "./outcome.js";
import { rowOf } from "./row.js";
import { Source } from "./source.js";
import { View } from "./view.js";

const NAME = "beside"; // of the parameter in the address
const LOOKED = 8192; // bytes at the start that show whether they are text

export class Beside {
  #follower = null;

  /** Opens the stream in the address, if it has one. */
  fromAddress() {
    const id = new URLSearchParams(location.search).get(NAME);
    if (id) this.open(id);
  }

  open(id) {
    this.close();
    address(id);
    const [state, facts] = [h("span"), h("span", { class: "facts" })];
    const close = h("button", { type: "button", title: "Close", "aria-label": "Close the stream beside", onclick: () => this.close() }, "✕");
    const layer = h("div", { class: "layer" });
    const space = h("div", { class: "space" }, layer);
    const log = h("div", { class: "log", tabindex: 0, role: "region", "aria-label": `Output of ${id}` }, space);
    const link = h("a", { href: pathOf(id) }, id);
    $("beside").replaceChildren(h("header", {}, link, state, facts, h("span", { class: "grow" }), close), log);
    $("beside").hidden = false;

    const source = new Source(pathOf(id, "/stream/"));
    const known = {};
    const row = (number) => {
      const line = source.line(number);
      return { key: line ? String(line.text.length + line.hidden) : "", make: () => rowOf(number, line, {}) };
    };
    const view = new View({ scroller: log, space, layer }, row);
    view.onmove = (first, last) => {
      source.want(Math.max(1, first - 20), last + 20);
      layer.style.setProperty("--digits", String(source.lines).length);
    };
    // A line is opened on the page of its stream.
    layer.addEventListener("click", (event) => {
      const number = event.target.closest(".n");
      if (!number) return;
      event.preventDefault();
      location.assign(link.href + number.hash);
    });
    source.changed = () => {
      view.total = source.lines;
      view.update();
      facts.textContent = `${amount(source.lines, "line")} · ${bytes(source.size)}`;
    };
    this.#follower = new Follower(source.path, source, (news) => {
      Object.assign(known, news);
      if (news.state) showPill(state, known);
      if (news.caught && known.state !== "complete") view.follow(true);
    }, { listens: false });
    this.#follower.start();
    getBytes(source.path, 0, LOOKED).then((start) => isBinary(start) && log.replaceWith(h("p", { class: "hint" }, "This is not text.")), () => {});
  }

  close() {
    this.#follower?.stop();
    this.#follower = null;
    $("beside").hidden = true;
    $("beside").replaceChildren();
    address("");
  }

  /** Takes an event of any stream. */
  hear(event) {
    this.#follower?.hear(event);
  }
}

function address(id) {
  const query = new URLSearchParams(location.search);
  if ((query.get(NAME) ?? "") === id) return;
  if (id) query.set(NAME, id);
  else query.delete(NAME);
  history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : "") + location.hash);
}
