/**
 * The header of a stream's page: its name, its state, its facts, its metadata and the connection. Owns nothing: it shows
 * what the follower knows.
 */

import { showAbsent } from "./absent.js";
import { $, announce, h, setText } from "./dom.js";
import { age, amount, bytes, member, members, span } from "./format.js";
import { detailOf, showPill, wordOf } from "./outcome.js";
import { Tab } from "./tab.js";

/** The states after which nothing more arrives. */
export const FINAL = ["complete", "aborted", "gone"];

export class Header {
  /** `known` has what the follower has reported so far. */
  constructor(id, source, known) {
    Object.assign(this, { source, known });
    this.tab = new Tab(id, known);
    setInterval(() => document.hidden || this.facts(), 1000);
    setText($("name"), id);
  }

  /** Shows what the follower reports of the stream. */
  tell({ state, metadata, connected }) {
    if (state) this.#showState(state);
    this.tab.show();
    if (metadata !== undefined) this.#showMetadata(metadata);
    if (connected !== undefined) {
      setText($("connection"), connected ? "" : this.known.trouble || "Connection lost; reconnecting …");
    }
    this.facts();
  }

  /** Shows the number of lines, the size, and how long the stream took or has been running. */
  facts() {
    const { source, known } = this;
    const parts = [amount(source.lines, "line"), bytes(Math.max(source.size, known.size ?? 0))];
    const [now, created, ended] = [Date.now(), Date.parse(known.created), Date.parse(known.ended)];
    if (ended) parts.push(`took ${span((ended - created) / 1000)}`, age(ended, now));
    else if (created) parts.push(`${span((now - created) / 1000)} so far`);
    setText($("facts"), parts.join(" · "));
    $("facts").title = [created, ended].filter(Boolean).map((time) => new Date(time).toLocaleString()).join(" – ");
    setText($("waits"), ["interrupted", "open"].includes(known.state) ? detailOf(known) : "");
  }

  #showState(state) {
    showAbsent(state === "absent", this.source.path);
    const word = wordOf(this.known);
    if ($("state").textContent !== word) announce(`The stream is ${word}`, { quiet: true });
    showPill($("state"), this.known);
    const why = this.known.reason || (state === "gone" ? "This stream was deleted or replaced." : "");
    $("reason").hidden = !((state === "aborted" || state === "gone") && why);
    setText($("reason"), why);
  }

  #showMetadata(metadata) {
    const all = members(metadata).map(([name, value]) => h("span", { class: "member" }, h("b", {}, name), member(value)));
    $("metadata").replaceChildren(...all);
    $("metadata").hidden = !all.length;
  }
}
