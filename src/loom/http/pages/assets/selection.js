/**
 * The selected lines: in the view, in the address and on the clipboard.
 */

import { plain } from "./ansi.js";
import { getBytes } from "./api.js";
import { $, announce, copyText, h } from "./dom.js";
import { bytes, count } from "./format.js";
import { formatLines, parseFragment } from "./fragment.js";
import { adoptLink } from "./session.js";

const MOST_COPIED = 16 << 20; // bytes

export class Selection {
  onpick = () => {}; // called with the lines

  /** `go(line)` shows a line, as soon as it exists. */
  constructor(path, source, output, go) {
    Object.assign(this, { path, source, output, go });
    addEventListener("hashchange", () => {
      adoptLink();
      this.fromAddress();
    });
    $("layer").addEventListener("click", (event) => this.#click(event));
    $("picked-clear").addEventListener("click", () => this.pick(null));
    $("copy").addEventListener("click", () => this.#copy().catch((error) => announce(error.message)));
  }

  /** Selects the lines in the address, and shows them. */
  fromAddress() {
    this.pick(parseFragment(location.hash).lines, { go: true });
  }

  /** Selects lines, and puts them in the address. */
  pick(lines, { go = false } = {}) {
    this.output.picked = lines;
    const fragment = formatLines(lines);
    if (location.hash !== fragment) history.replaceState(null, "", fragment || location.pathname + location.search);
    this.onpick(lines);
    if (lines && go) this.go(lines[0]);
    this.output.view.update();
  }

  /** Asks for a line to show. */
  ask() {
    const most = Math.max(1, this.source.lines);
    const input = h("input", { type: "number", min: 1, max: most, id: "line", required: true });
    const closed = () => {
      dialog.remove();
      const line = Number(input.value);
      if (line && dialog.returnValue === "go") this.pick([line, line], { go: true });
    };
    const dialog = h(
      "dialog",
      { "aria-labelledby": "line-label", onclose: closed },
      h(
        "form",
        { method: "dialog" },
        h("label", { for: "line", id: "line-label" }, `Line, 1 to ${count(this.source.lines)}`),
        input,
        h("p", {}, h("button", { class: "primary", value: "go" }, "Go")),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  }

  #click(event) {
    const number = event.target.closest(".n");
    if (!number || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const line = Number(number.parentElement.dataset.line);
    const from = event.shiftKey && this.output.picked ? this.output.picked[0] : line;
    this.pick([Math.min(from, line), Math.max(from, line)]);
  }

  async #copy() {
    const [first, last] = this.output.picked ?? this.output.seen;
    const [start, stop] = await this.source.span(first, Math.min(last, this.source.lines));
    if (stop - start > MOST_COPIED) throw new Error(`The lines have ${bytes(stop - start)}: download the stream.`);
    const text = new TextDecoder().decode(await getBytes(this.path, start, stop));
    await copyText(text.split("\n").map((line) => plain(line)).join("\n"));
    announce(first === last ? `Line ${first} copied` : `Lines ${first} to ${last} copied`);
  }
}
