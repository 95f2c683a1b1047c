/**
 * What the list shows in place of streams: a mistake in the filter, that nothing matches, or how to send the first one.
 */

import { $, announce, copyText, h } from "./dom.js";
import { narrows } from "./filter.js";
import { token } from "./session.js";

/** Shows why there is no row; `clear` empties the filter. */
export function showEmpty(shown, filter, clear) {
  $("empty").hidden = !shown;
  $("table").hidden = shown;
  $("tools").hidden = shown && !filter.prefix && !narrows(filter) && !filter.errors.length;
  if (shown) $("empty").replaceChildren(...reason(filter, clear));
}

function reason(filter, clear) {
  const reset = h("button", { type: "button", onclick: clear }, "Clear the filter");
  if (filter.errors.length) {
    return [h("h2", {}, "This filter cannot be understood"), ...filter.errors.map((error) => h("p", {}, error)), reset];
  }
  if (narrows(filter)) {
    const where = filter.prefix ? ` under ${filter.prefix}` : "";
    return [h("h2", {}, `No stream${where} matches this filter`), reset];
  }
  if (filter.prefix) return [h("h2", {}, `No streams under ${filter.prefix}`)];
  return welcome();
}

function welcome() {
  const guarded = token() ? ' -H "Authorization: Bearer $LOOM_TOKEN"' : "";
  const ways = [
    ["With curl", `echo hello | curl${guarded} -T - -X POST ${location.origin}/stream/hello`],
    ["A command and its output, with the loom command", `LOOM_SERVER=${location.origin} loom run builds/1 -- make`],
  ];
  const shown = ways.flatMap(([title, command]) => {
    const copy = h("button", { type: "button", "aria-label": `Copy: ${command}`, onclick: () => copyText(command).then(() => announce("Copied")) }, "Copy");
    return [h("h3", {}, title), h("div", { class: "command" }, h("code", {}, command), copy)];
  });
  return [h("h2", {}, "No streams here yet"), h("p", {}, "Send the first one. It appears here while it is sent."), ...shown];
}
