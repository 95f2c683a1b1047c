/**
 * What both pages share: the colour theme, keys and their help. Knows nothing of streams.
 */

import { $, announce, h, openDialog } from "./dom.js";

const KEY = "loom-theme";
const THEMES = ["auto", "dark", "light"];

/**
 * Sets the page up. `keys` has rows `[keys, what they do, handler]`; keys are values of `event.key`, separated by
 * spaces. A row without a handler only appears in the help.
 */
export function begin(keys) {
  let theme = localStorage.getItem(KEY) ?? "auto";
  const show = () => {
    document.documentElement.dataset.theme = theme;
    $("theme").title = `Colours: ${theme} (d)`;
    $("theme").setAttribute("aria-label", `Colours: ${theme}`);
  };
  const next = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem(KEY, theme);
    show();
    announce(`Colours: ${theme}`);
  };
  show();
  $("theme").addEventListener("click", next);

  const rows = [...keys, ["d", "colours: auto, dark, light", next], ["?", "this help", () => help(rows)]];
  $("help").addEventListener("click", () => help(rows));
  const handlers = new Map();
  for (const [names, , handler] of rows) {
    if (handler) for (const name of names.split(" ")) handlers.set(name, handler);
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, textarea, dialog")) return;
    const handler = handlers.get(event.key === " " ? "Space" : event.key);
    if (!handler) return;
    // Enter and Space activate the button or link that has the focus.
    if ((event.key === "Enter" || event.key === " ") && event.target.closest("button, a, summary")) return;
    event.preventDefault();
    handler(event);
  });
}

function help(rows) {
  const line = ([names, meaning]) =>
    h("div", {}, h("dt", {}, ...names.split(" ").map((name) => h("kbd", {}, name))), h("dd", {}, meaning));
  const close = h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close"));
  openDialog("Keys", { class: "help" }, h("dl", {}, ...rows.map(line)), close);
}
