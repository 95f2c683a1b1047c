/**
 * The token: from the fragment of a share link, or typed once. Owns where the token is kept.
 *
 * It is kept in this tab's session storage and sent only as a header. It is never part of an address that is sent or
 * kept in the history. A typed token is passed to other tabs on request, so that it is typed only once.
 */

import { h } from "./dom.js";
import { formatLines, parseFragment } from "./fragment.js";

const KEY = "loom-token";
const TYPED = "loom-token-typed"; // the token of a share link is not passed to other tabs
const PATIENCE = 200; // milliseconds to wait for other tabs

const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("loom-session") : null;
let asking = null;

/** Returns the token, empty if there is none. */
export const token = () => sessionStorage.getItem(KEY) ?? "";

/** Keeps the token of a share link, and removes it from the address immediately. */
export function adoptLink() {
  const { token: given, lines } = parseFragment(location.hash);
  if (!given) return;
  sessionStorage.setItem(KEY, given);
  sessionStorage.removeItem(TYPED);
  history.replaceState(null, "", location.pathname + location.search + formatLines(lines));
}

/** Returns a token other than `refused`, from another tab or the user. Concurrent calls ask the user once. */
export function askToken(refused) {
  if (token() !== refused) return Promise.resolve(token());
  asking ??= (async () => {
    const given = (await fromOtherTab(refused)) || (await fromReader(refused));
    sessionStorage.setItem(KEY, given);
    sessionStorage.setItem(TYPED, "yes");
    asking = null;
    return given;
  })();
  return asking;
}

channel?.addEventListener("message", ({ data }) => {
  if (data.ask && sessionStorage.getItem(TYPED)) channel.postMessage({ token: token() });
});

function fromOtherTab(refused) {
  return new Promise((resolve) => {
    if (!channel) return resolve("");
    const hear = ({ data }) => data.token && data.token !== refused && resolve(data.token);
    channel.addEventListener("message", hear);
    setTimeout(() => {
      channel.removeEventListener("message", hear);
      resolve("");
    }, PATIENCE);
    channel.postMessage({ ask: true });
  });
}

function fromReader(refused) {
  return new Promise((resolve) => {
    const input = h("input", {
      type: "password", id: "token", required: true, autocomplete: "off", spellcheck: "false",
    });
    const dialog = h(
      "dialog",
      { class: "ask", "aria-labelledby": "ask-title", oncancel: (event) => event.preventDefault() },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "ask-title" }, "Token"),
        h("p", {}, refused ? "This server does not know that token." : "This server needs a token."),
        h("label", { for: "token" }, "Token"),
        input,
        h("p", { class: "hint" }, "Kept for this session only."),
        h("button", { class: "primary" }, "Continue"),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(input.value.trim());
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
