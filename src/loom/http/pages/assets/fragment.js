/**
 * What stands behind the # of a page's address: chosen lines, and the token of a share link. Pure.
 */

const LINES = /^L([1-9]\d{0,14})(?:-L?([1-9]\d{0,14}))?$/;

/** `{lines: [first, last] | null, token}` of a fragment such as `#L10-L20` or `#token=...&L10`. */
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

/** The fragment for chosen lines; empty for none. */
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
