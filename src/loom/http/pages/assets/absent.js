/**
 * What the page shows in place of the output while its stream does not exist: how to send it.
 */

import { $, h } from "./dom.js";
import { token } from "./session.js";

/** Shows or hides it; `path` is that of the stream's bytes. */
export function showAbsent(absent, path) {
  document.body.classList.toggle("absent", absent);
  if (!absent) return;
  const hidden = token() ? " If it exists already, your token may not read it." : "";
  const authorization = token() ? ' -H "Authorization: Bearer $LOOM_TOKEN"' : "";
  $("absent").replaceChildren(
    h("h2", {}, "This stream does not exist yet"),
    h("p", {}, `This page shows it as soon as it is created.${hidden}`),
    h("pre", { tabindex: 0 }, `make 2>&1 | curl${authorization} -T - -X POST '${location.origin}${path}'`),
    h("p", {}, h("a", { href: "/ui/" }, "All streams")),
  );
}
