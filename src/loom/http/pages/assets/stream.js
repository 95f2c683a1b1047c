/**
 * The page of one stream: connects its lines, the follower, the header, the output and the selection.
 */

import { Beside } from "./beside.js";
import { $ } from "./dom.js";
import { Follower } from "./follow.js";
import { idOf, pathOf } from "./format.js";
import { FINAL, Header } from "./header.js";
import { Opening } from "./opening.js";
import { Output } from "./output.js";
import { Selection } from "./selection.js";
import { adoptLink } from "./session.js";
import { Share } from "./share.js";
import { begin } from "./shell.js";
import { Siblings } from "./siblings.js";
import { Source } from "./source.js";

adoptLink();
const id = idOf(location.pathname);
const path = pathOf(id, "/stream/");
const source = new Source(path);
const known = { state: "", size: 0, connected: true };
const header = new Header(id, source, known);
const output = new Output(path, source, known);
const { view, finder } = output;
const opening = new Opening(source, output, known);
const selection = new Selection(path, source, output, (line) => opening.go(line));
const share = new Share(id, source, () => output.picked);
const follower = new Follower(path, source, tell);
const beside = new Beside();
const siblings = new Siblings(id, (other) => beside.open(other));

source.changed = grown;
output.errors.show = (line) => selection.pick([line, line], { go: true });
output.onoutline = () => opening.decide();
begin([
  ["f G End", "follow the end", () => (view.follow(true), view.page(Infinity))],
  ["g Home", "go to the beginning", () => view.page(-Infinity)],
  ["j ArrowDown", "a line down", () => scrollBy(1)],
  ["k ArrowUp", "a line up", () => scrollBy(-1)],
  ["Space PageDown", "a page down", ({ shiftKey }) => view.page(shiftKey ? -1 : 1)],
  ["b PageUp", "a page up", () => view.page(-1)],
  ["e", "next error", () => output.errors.step(1)],
  ["E", "previous error", () => output.errors.step(-1)],
  ["]", "next section", () => output.stepSection(1)],
  ["[", "previous section", () => output.stepSection(-1)],
  ["x", "open or close this section", () => output.fold()],
  ["X", "open or close all sections", () => output.sections.toggleAll()],
  ["/", "search", () => finder.open()],
  ["n", "next match", () => finder.step(1)],
  ["N", "previous match", () => finder.step(-1)],
  [":", "go to a line", () => selection.ask()],
  ["t", "times: of arrival, since the start, none", () => $("times").click()],
  ["w", "wrap long lines", () => $("wrap").click()],
  ["r", "raw: show control characters", () => $("raw").click()],
  ["c", "copy the selected lines, or the visible ones", () => $("copy").click()],
  ["y", "copy the link to this stream, or to the selected lines", () => share.copyLink()],
  ["s", "share: read-only links, addresses", () => share.open()],
  ["J", "next stream of this folder", () => siblings.step(1)],
  ["K", "previous stream of this folder", () => siblings.step(-1)],
  ["l", "show or hide the streams of this folder", () => siblings.toggle()],
  ["Escape", "clear the selection", () => selection.pick(null)],
]);
document.addEventListener("keydown", (event) => {
  // Pressed again, the keys open the browser's own search.
  if ((event.ctrlKey || event.metaKey) && event.key === "f" && document.activeElement !== $("find")) {
    event.preventDefault();
    finder.open();
  }
});
$("download").addEventListener("click", () => share.save());
follower.onevent = (event) => [siblings, beside].forEach((each) => each.hear(event));
selection.onpick = (lines) => share.offer(lines);
selection.fromAddress();
finder.fromAddress();
beside.fromAddress();
follower.start();

/** Shows what the follower reports of the stream. */
function tell(news) {
  Object.assign(known, news);
  header.tell(news);
  if (news.caught || news.state === "absent") siblings.start();
  if (FINAL.includes(known.state) && known.caught) output.sections.scanner.finish();
  if (FINAL.includes(news.state) || news.caught) grown();
  if (news.state || news.caught) output.sections.refold();
  if (news.state) output.showFollowing();
  opening.decide();
}

function grown() {
  output.grow();
  opening.grow();
  header.facts();
}

function scrollBy(lines) {
  view.touched = true;
  $("log").scrollTop += lines * 20;
}
