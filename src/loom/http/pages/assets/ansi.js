/**
 * Renders one line as a terminal does: colours and attributes (ECMA-48 SGR), carriage returns, backspaces and erasures.
 * Pure: text in, runs `{text, style}` out.
 *
 * All other sequences are dropped. There is no screen, so a line cannot change another one. Incomplete sequences and
 * control characters are shown in caret notation, so that nothing is hidden.
 */

/** A style without attributes. Styles are immutable. */
export const PLAIN = Object.freeze({});
const CONTROL = Object.freeze({ control: true }); // the style of a control character that is shown

const MAX_COLUMN = 10_000; // the last column to which a sequence moves the cursor
const SPECIAL = /[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]/;
const MOVES = /[\r\x08]|\x1b\[[\d;]*[CDGKPX]/;
const TOKEN = new RegExp(
  [
    String.raw`\x1b\[([\d;:?<=>]*)[ -/]*([@-~])`, // a control sequence
    String.raw`\x1b\]8;[^;\x07\x1b]*;([^\x07\x1b]*)(?:\x07|\x1b\\)`, // a link
    String.raw`\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)`, // a title, for example
    String.raw`\x1b[()*+][0-9A-Za-z]`, // a character set
    String.raw`\x1b[=>78cDEHMNOZ]`,
    String.raw`[\x00-\x08\x0b-\x1f\x7f-\x9f]`,
  ].join("|"),
  "g",
);

/** Returns the runs of a line that begins in `style`, and the style after it: `{runs, style}`. */
export function render(text, style = PLAIN) {
  const line = text.endsWith("\r") ? text.slice(0, -1) : text;
  if (!SPECIAL.test(line)) return { runs: line ? [{ text: line, style }] : [], style };
  return MOVES.test(line) ? overwrite(line, style) : inOrder(line, style);
}

/** Returns the visible text of a line. */
export function plain(text) {
  return render(text).runs.map((run) => run.text).join("");
}

/** Returns the style after a line, as `render` does, with less work. */
export function styleAfter(text, style) {
  let now = style;
  if (text.includes("\x1b")) for (const token of text.matchAll(TOKEN)) now = styled(now, token);
  return now;
}

/** Returns the runs of a line as it was sent, with its control characters in caret notation. */
export function asSent(text) {
  const parts = text.split(/([\x00-\x08\x0b-\x1f\x7f-\x9f]+)/); // every second part has control characters
  const runs = parts.map((part, at) => (at % 2 ? { text: [...part].map(caret).join(""), style: CONTROL } : { text: part, style: PLAIN }));
  return runs.filter((run) => run.text);
}

function inOrder(line, style) {
  const runs = [];
  let at = 0;
  let now = style;
  const put = (text, style = now) => {
    if (!text) return;
    const last = runs.at(-1);
    if (last?.style === style) last.text += text;
    else runs.push({ text, style });
  };
  for (const token of line.matchAll(TOKEN)) {
    put(line.slice(at, token.index));
    at = token.index + token[0].length;
    if (token[0].length === 1) put(caret(token[0]), CONTROL);
    else now = styled(now, token);
  }
  put(line.slice(at));
  return { runs, style: now };
}

/** Renders cell by cell, for a line in which the cursor moves back. */
function overwrite(line, style) {
  let cells = [];
  let styles = [];
  let column = 0;
  let now = style;
  const put = (text, style = now) => {
    for (const char of text) {
      for (let gap = cells.length; gap < column; gap += 1) [cells[gap], styles[gap]] = [" ", PLAIN];
      [cells[column], styles[column]] = [char, style];
      column += 1;
    }
  };
  const moves = {
    C: (n) => (column = Math.min(column + (n || 1), Math.max(MAX_COLUMN, column))),
    D: (n) => (column = Math.max(0, column - (n || 1))),
    G: (n) => (column = Math.min(Math.max(0, (n || 1) - 1), MAX_COLUMN)),
    K: (n) => {
      if (n === 2) [cells, styles] = [[], []];
      else if (n === 1) for (let at = 0; at <= column && at < cells.length; at += 1) [cells[at], styles[at]] = [" ", PLAIN];
      else [cells, styles] = [cells.slice(0, column), styles.slice(0, column)];
    },
    P: (n) => [cells.splice(column, n || 1), styles.splice(column, n || 1)],
    X: (n) => cells.fill(" ", column, column + (n || 1)),
  };
  let at = 0;
  for (const token of line.matchAll(TOKEN)) {
    put(line.slice(at, token.index));
    at = token.index + token[0].length;
    if (token[0] === "\r") column = 0;
    else if (token[0] === "\b") column = Math.max(0, column - 1);
    else if (token[0].length === 1) put(caret(token[0]), CONTROL);
    else if (moves[token[2]]) moves[token[2]](parseInt(token[1], 10) || 0);
    else now = styled(now, token);
  }
  put(line.slice(at));
  return { runs: joined(cells, styles), style: now };
}

function joined(cells, styles) {
  const runs = [];
  let from = 0;
  for (let at = 1; at <= cells.length; at += 1) {
    if (at < cells.length && styles[at] === styles[from]) continue;
    runs.push({ text: cells.slice(from, at).join(""), style: styles[from] });
    from = at;
  }
  return runs.filter((run) => run.text);
}

/** `token` is a match of TOKEN. */
function styled(style, [, parameters, final, link]) {
  if (link !== undefined) return changed(style, { link: /^https?:\/\//i.test(link) ? link : undefined });
  return final === "m" && !/[?<=>]/.test(parameters) ? select(style, parameters) : style;
}

const ON = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 8: "hidden", 9: "strike" };
const OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 28: ["hidden"], 29: ["strike"] };

/** Returns the style after SGR. Semicolons separate `parameters`; colons may separate those of one colour. */
function select(style, parameters) {
  let now = style;
  const codes = parameters.split(";");
  for (let at = 0; at < codes.length; at += 1) {
    const [head, ...sub] = codes[at].split(":").map((code) => parseInt(code, 10) || 0);
    if (head === 0) now = now.link ? Object.freeze({ link: now.link }) : PLAIN;
    else if (head === 4 && sub[0] === 0) now = changed(now, { underline: undefined });
    else if (ON[head]) now = changed(now, { [ON[head]]: true });
    else if (OFF[head]) now = changed(now, Object.fromEntries(OFF[head].map((name) => [name, undefined])));
    else if (head >= 30 && head <= 37) now = changed(now, { fg: head - 30 });
    else if (head >= 90 && head <= 97) now = changed(now, { fg: head - 82 });
    else if (head >= 40 && head <= 47) now = changed(now, { bg: head - 40 });
    else if (head >= 100 && head <= 107) now = changed(now, { bg: head - 92 });
    else if (head === 39) now = changed(now, { fg: undefined });
    else if (head === 49) now = changed(now, { bg: undefined });
    else if (head === 38 || head === 48) {
      const rest = sub.length ? sub : codes.slice(at + 1, at + 5).map((code) => parseInt(code, 10) || 0);
      const colour = rest[0] === 5 ? indexed(rest[1]) : rest[0] === 2 ? rgb(sub.length > 4 ? rest.slice(2) : rest.slice(1)) : undefined;
      if (!sub.length) at += rest[0] === 5 ? 2 : rest[0] === 2 ? 4 : 0;
      now = changed(now, { [head === 38 ? "fg" : "bg"]: colour });
    }
  }
  return now;
}

/** Returns one of 256 colours: 16 of the theme, then a cube of 6 x 6 x 6, then greys. */
function indexed(number = 0) {
  if (number < 16) return number;
  if (number > 255) return undefined;
  if (number > 231) return rgb([8, 8, 8].map((least) => least + (number - 232) * 10));
  const level = (step) => (step ? 55 + step * 40 : 0);
  const place = number - 16;
  return rgb([level(Math.floor(place / 36)), level(Math.floor(place / 6) % 6), level(place % 6)]);
}

function rgb([red = 0, green = 0, blue = 0]) {
  return `rgb(${[red, green, blue].map((part) => Math.min(255, Math.max(0, part))).join(",")})`;
}

function changed(style, change) {
  const now = { ...style, ...change };
  for (const name of Object.keys(now)) if (now[name] === undefined) delete now[name];
  return Object.freeze(now);
}

/** Returns a control character as `cat -v` shows it: ^[ for ESC, M-^[ for CSI. Fonts often lack the pictures of Unicode. */
function caret(char) {
  const code = char.charCodeAt(0);
  return `${code > 0x7f ? "M-" : ""}^${String.fromCharCode((code & 0x7f) ^ 0x40)}`;
}
