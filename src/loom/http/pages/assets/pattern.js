/**
 * What is searched: as a pattern for the server, and as one that marks matches in the page. Pure.
 */

const COLOURS = String.raw`(?:\x1b\[[0-9;:]*m)*`;
const COLOURED = 200; // characters of a text that is also found where colours change within it

/** Returns the pattern for the server, in the syntax of RE2. A text is found whatever its colours. */
export function expressionOf(text, regex) {
  if (regex) return text;
  const characters = [...text].map(escaped);
  return characters.join(characters.length > COLOURED ? "" : COLOURS);
}

/** Returns the pattern that marks matches in the visible text of a line, null if this browser does not know its syntax. */
export function markerOf(text, { regex, exact }) {
  try {
    return new RegExp(regex ? text : [...text].map(escaped).join(""), exact ? "gu" : "giu");
  } catch {
    return null;
  }
}

/** Returns at most `most` matches in the visible text of a line: `[{start, stop}]`. */
export function findIn(marker, text, most = 1000) {
  const found = [];
  if (!marker) return found;
  marker.lastIndex = 0;
  for (let match; found.length < most && (match = marker.exec(text)); ) {
    if (match[0]) found.push({ start: match.index, stop: match.index + match[0].length });
    else marker.lastIndex += 1;
  }
  return found;
}

const escaped = (character) => character.replace(/[.*+?^${}()|[\]\\]/, "\\$&");
