/**
 * Elements from code. Owns the one way this page makes elements: strings become text nodes, never markup.
 */

/**
 * An element with properties and children. `on...` properties are listeners, `class`, `role`, `aria-...` and the
 * like attributes; children that are strings become text, null and false nothing.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** The element of that id; the page's HTML has it. */
export const $ = (id) => document.getElementById(id);

/** Sets an element's text, only if it changed: no needless layout, no needless announcement. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Puts text on the clipboard, where the page's origin is not trusted enough for the API too. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = h("textarea", { class: "offscreen", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

let announced;

/** Tells it: in the corner for some seconds, and to screen readers. */
export function announce(text, { quiet = false } = {}) {
  setText($("announcer"), text);
  if (quiet) return;
  const toast = $("toast");
  setText(toast, text);
  toast.hidden = false;
  clearTimeout(announced);
  announced = setTimeout(() => (toast.hidden = true), 3500);
}
