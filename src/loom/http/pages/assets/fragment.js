/**
 * The fragment of a page's address: selected lines, and the token of a share link. Pure.
 */

const LINES = /^L([1-9]\d{0,14})(?:-L?([1-9]\d{0,14}))?$/;

/** Parses a fragment such as `#L10-L20` or `#token=...&L10` into `{lines: [first, last] | null, token}`. */
export function parseFragment(fragment) {
  const found = { lines: null, token: "" };
  for (const part of fragment.replace(/^#/, "").split("&")) {
    const lines = LINES.exec(part);
    if (lines) {
      const [first, last] = [Number(lines[1]), Number(lines[2] ?? lines[1])];
      found.lines = [Math.min(first, last), Math.max(first, last)];
    } else if (part.startsWith("token=")) {
      found.token = decode(part.slice("token=".length));
    }
  }
  return found;
}

/** Returns the fragment for selected lines, empty for none. */
export function formatLines(lines) {
  if (!lines) return "";
  const [first, last] = lines;
  return first === last ? `#L${first}` : `#L${first}-L${last}`;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
