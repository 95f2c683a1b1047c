/**
 * The token: from a share link's fragment, or asked for once. Owns where it is kept.
 *
 * It stays in this tab's session storage, is never part of an address that is sent or stays in the history, and goes
 * out as a header only. Other tabs may have the one that was typed in, so that it is typed in once.
 */

import { h } from "./dom.js";
import { formatLines, parseFragment } from "./fragment.js";

const KEY = "loom-token";
const TYPED = "loom-token-typed"; // that of a share link is not for other tabs
const PATIENCE = 200; // milliseconds that other tabs have to answer

const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("loom-session") : null;
let asking = null;

/** The token, empty if there is none. */
export const token = () => sessionStorage.getItem(KEY) ?? "";

/** Keeps the token of a share link and takes it out of the address at once. */
export function adoptLink() {
  const { token: given, lines } = parseFragment(location.hash);
  if (!given) return;
  sessionStorage.setItem(KEY, given);
  sessionStorage.removeItem(TYPED);
  history.replaceState(null, "", location.pathname + location.search + formatLines(lines));
}

/** A token other than `refused`, from another tab or the reader. However many ask, it is asked for once. */
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
        h("p", {}, refused ? "This server does not know that token." : "This server asks for a token."),
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
