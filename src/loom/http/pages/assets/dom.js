/**
 * Elements from code. Owns the only way in which the page creates elements: strings become text, never markup.
 */

/**
 * Creates an element. Properties `on...` are listeners, the others (`class`, `role`, `aria-...`) are attributes.
 * Children that are strings become text; null and false are skipped.
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

/** Returns the element with this id, which the page's HTML has. */
export const $ = (id) => document.getElementById(id);

/** Sets an element's text if it differs, which avoids needless layout and announcements. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Copies text to the clipboard, also on an origin that may not use the clipboard API. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = h("textarea", { class: "offscreen", "aria-hidden": "true" });
  area.value = text;
  // While a dialog is open, nothing outside it can be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Shows a modal dialog; a click beside it closes it. */
export function openDialog(title, properties, ...children) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const dialog = h("dialog", { "aria-labelledby": "dialog-title", ...properties }, heading, ...children);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

let announced;

/** Shows a message in the corner for some seconds, and announces it to screen readers. */
export function announce(text, { quiet = false } = {}) {
  setText($("announcer"), text);
  if (quiet) return;
  const toast = $("toast");
  setText(toast, text);
  // Shown again, it is above a dialog that was opened meanwhile.
  toast.hidePopover();
  toast.showPopover();
  clearTimeout(announced);
  announced = setTimeout(() => toast.hidePopover(), 3500);
}
