/**
 * Sharing a stream: the link to its lines, read-only links, and the addresses of its bytes. Owns the dialog.
 */

import { $, announce, copyText, h, openDialog, setText } from "./dom.js";
import { save } from "./download.js";
import { bytes, count, pathOf } from "./format.js";
import { formatLines } from "./fragment.js";
import { madeHere, revoke, sign } from "./links.js";
import { token } from "./session.js";

const HOUR = 3600; // seconds
const LIFETIMES = [["1 hour", HOUR], ["1 day", 24 * HOUR], ["7 days", 7 * 24 * HOUR], ["30 days", 30 * 24 * HOUR]];

export class Share {
  /** `lines()` returns the lines to link to, null for none. */
  constructor(id, source, lines) {
    Object.assign(this, { id, source, lines });
    for (const link of ["link", "picked-link"]) $(link).addEventListener("click", () => this.copyLink());
    $("picked-copy").addEventListener("click", () => $("copy").click());
    $("share").addEventListener("click", () => this.open());
  }

  /** Offers to share the lines that are selected, null for none. */
  offer(lines) {
    $("picked").hidden = !lines;
    if (lines) setText($("picked-lines"), named(lines));
  }

  /** Copies the address of this page, with the lines to link to. */
  copyLink() {
    const lines = this.lines();
    copied(this.#page(formatLines(lines)), lines ? `${named(lines)}: link copied` : "Link copied");
  }

  open() {
    const lines = this.lines();
    const { size } = this.source;
    const save = h("button", { type: "button", onclick: () => this.save() }, `Download, ${bytes(size)}`);
    openDialog(
      "Share",
      { class: "share" },
      token() ? this.#links(lines) : h("p", { class: "hint" }, "This server needs no token: everyone who can reach it can open these."),
      h("h3", {}, token() ? "For those who have a token" : "Addresses"),
      address("Page", this.#page(formatLines(lines))),
      address("Raw", location.origin + this.source.path + (lines ? `?line=${lines.join("-")}` : "")),
      h("form", { method: "dialog", class: "buttons" }, save, h("button", {}, "Close")),
    );
  }

  /** Saves the stream as a file. */
  save() {
    save(this.source.path, this.id, this.source.size).catch((error) => announce(error.message));
  }

  #page(fragment) {
    return location.origin + pathOf(this.id) + location.search + fragment;
  }

  /** The part of the dialog that makes and revokes read-only links. */
  #links(lines) {
    const folder = this.id.slice(0, this.id.lastIndexOf("/") + 1);
    const streams = h("select", { id: "share-streams" }, h("option", { value: "" }, this.id), folder ? h("option", { value: folder }, `all of ${folder}`) : null);
    const lifetime = h("select", { id: "share-lifetime" }, ...LIFETIMES.map(([name, seconds]) => h("option", { value: seconds, selected: seconds === 24 * HOUR }, name)));
    const [made, list] = [h("div", { class: "made", "aria-live": "polite" }), h("ul", { class: "links" })];
    const make = async (event) => {
      event.preventDefault();
      const signed = await sign(streams.value ? { prefix: streams.value } : { id: this.id }, Number(lifetime.value));
      const link = this.#page(`#token=${signed}${formatLines(lines).replace("#", "&")}`);
      made.replaceChildren(address("Link", link));
      showLinks(list);
      copied(link, "Read-only link copied");
    };
    showLinks(list);
    return h(
      "form",
      { onsubmit: (event) => make(event).catch((error) => made.replaceChildren(h("p", { class: "wrong" }, error.message))) },
      h("p", { class: "hint" }, "A read-only link lets everyone who has it read, until it expires or is revoked."),
      h("div", { class: "field" }, h("label", { for: "share-streams" }, "Streams"), streams),
      h("div", { class: "field" }, h("label", { for: "share-lifetime" }, "Valid for"), lifetime),
      h("button", { class: "primary" }, "Create link and copy it"),
      made,
      list,
    );
  }
}

/** Shows the links that were made in this browser, each with a button that revokes it. */
function showLinks(list) {
  const rows = madeHere().map((link) => {
    const until = new Date(link.expires).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    const end = async () => {
      await revoke(link);
      showLinks(list);
      announce("Link revoked");
    };
    const button = h("button", { type: "button", onclick: () => end().catch((error) => announce(error.message)) }, "Revoke");
    return h("li", {}, h("span", { class: "id" }, link.streams), h("span", { class: "hint" }, `until ${until}`), button);
  });
  list.replaceChildren(...rows);
}

/** An address with a button that copies it. */
function address(name, text) {
  const id = `address-${name.toLowerCase()}`;
  const input = h("input", { id, value: text, readonly: true, onfocus: () => input.select() });
  const button = h("button", { type: "button", "aria-label": `Copy: ${name}`, onclick: () => copied(text, `${name} copied`) }, "Copy");
  return h("div", { class: "field" }, h("label", { for: id }, name), input, button);
}

function copied(text, message) {
  copyText(text).then(() => announce(message), (error) => announce(error.message));
}

const named = ([first, last]) => (first === last ? `Line ${count(first)}` : `Lines ${count(first)} to ${count(last)}`);
