/**
 * What the lines of a build's output say about it: where sections begin and end, annotations, errors and warnings. Owns
 * the rule of what is an error. Pure: the text of one line in, its marks out.
 *
 * The patterns stay within what JavaScript and RE2 have in common, so that the server finds the same lines. They match
 * the bytes as they were sent; `§` stands for sequences that set colours, which may stand between words.
 */

const COLOURS = String.raw`(?:\x1b\[[0-9;]*[A-Za-z])*`;
// Buildkite and GitHub put the time before a line.
const LEAD = String.raw`^(?:\x1b_bk;t=[0-9]+\x07)?(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z )?§`;
const END = String.raw`(?:[\s\x1b]|$)`;
const FILE = String.raw`(?:[A-Za-z]:)?[^\s:()\x1b]+`;
const CODE = String.raw`(?: [A-Z]{1,6}[0-9]+)?`; // TS2322, C2143

/** What follows LEAD. */
const SECTIONS = {
  github: String.raw`(?:::(end)?group::|##\[(end)?group\])`,
  buildkite: String.raw`(---|\+\+\+|~~~) (§[^-=+~*#!>|@</\s])`,
  reopen: String.raw`\^\^\^ \+\+\+`,
  hunk: "@@ -[0-9]",
};
const NOTES = [String.raw`::(error|warning|notice)(?: ([^:]*(?::[^:]+)*?))?::`, String.raw`##\[(error|warning|notice)\]`];

/** Forms of errors; lines of the same form in a row are one error where `block` is set. */
const ERRORS = [
  { form: "message", source: String.raw`(?:error|Error|ERROR)§(?:\[[A-Z]*[0-9]+\])?§:${END}` },
  { form: "fatal", source: String.raw`(?:fatal|FATAL|panic|E):§ §\S` },
  { form: "compiler", source: String.raw`${FILE}§(?::§[0-9]+§){1,2}:?§(?: -)? §(?:fatal )?error§${CODE}§:${END}` },
  { form: "compiler", source: String.raw`${FILE}(?:\([0-9]+(?:,[0-9]+)?\))? ?:§ §(?:fatal )?error§${CODE}§:${END}` },
  { form: "traceback", source: String.raw`[ |+]*(?:Exception Group )?Traceback \(most recent call last\):` },
  { form: "exception", source: String.raw`(?:Uncaught )?(?:[A-Za-z_][\w.$]*)?(?:Error|Exception)(?: \[\w+\])?:${END}` },
  { form: "exception", source: 'Exception in thread "' },
  { form: "test", source: String.raw`(?:FAILED|FAIL|ERROR)§[: \t]§\S` },
  { form: "test", source: String.raw` *(?:--- FAIL: |not ok [0-9]|test .* \.\.\. §FAILED)` },
  { form: "test", source: String.raw`\[  FAILED  \]§ §\S` },
  { form: "pytest", block: true, source: String.raw`E   +\S` },
  { form: "npm", block: true, source: `npm§ §(?:ERR!|error)§${END}` },
  { form: "maven", block: true, source: String.raw`\[§ERROR§\]${END}` },
  { form: "make", source: String.raw`(?:g?make|ninja)(?:\[[0-9]+\])?: \*\*\* ` },
  { form: "build", source: "(?:BUILD FAILED|BUILD FAILURE|FAILURE: )" },
  { form: "shell", source: String.raw`(?:.*: command not found|Segmentation fault.*)\r?$` },
];
const WARNINGS = [
  String.raw`warning§(?:\[\w+\])?§:${END}`,
  String.raw`${FILE}§(?::§[0-9]+§){1,2}:?§(?: -)? §warning§${CODE}§:${END}`,
];
/** The only markers that stand anywhere in a line. */
const GITLAB = String.raw`(?:^|\r|K)section_(start|end):([0-9]+):([\w.-]+)(\[[^\]]*\])?\r(?:\x1b\[0K)?`;

const coloured = (source) => source.replaceAll("§", COLOURS);
const begins = (source) => new RegExp(coloured(LEAD + source));
const pattern = Object.fromEntries(Object.entries(SECTIONS).map(([name, source]) => [name, begins(source)]));
const notes = NOTES.map(begins);
const errors = ERRORS.map(({ form, block = false, source }) => ({ form, block, test: begins(source) }));
const warnings = WARNINGS.map(begins);
const section = new RegExp(GITLAB);
const LONGEST = 4096; // characters of a line that are examined

/** Matches every line that has marks, in JavaScript and in RE2. A line that matches may turn out to have none. */
export const MARKED = coloured(
  `${LEAD}(?:${[...Object.values(SECTIONS), ...NOTES, ...ERRORS.map(({ source }) => source), ...WARNINGS].join("|")})|${GITLAB}`,
);
const marked = new RegExp(MARKED);

/**
 * Returns the marks of a line, `{kind, ...}` in order:
 * - `open`: `form`, `title`, of GitLab also `name` and `time`; `folded` and `expanded` are wishes of the producer;
 * - `close`: `form`, of GitLab also `name` and `time`; `bare` says that the line has nothing else;
 * - `reopen`: the section before it is shown open;
 * - `hunk`: a part of a diff, whose file names look like sections;
 * - `error`, `warning`, `notice`: annotations have `note` and `text`, what remains of the line; other errors have `form`.
 */
export function marksOf(line) {
  const text = line.slice(0, LONGEST);
  if (!marked.test(text)) return [];
  if (text.includes("section_")) {
    const found = gitlab(text);
    if (found.length) return found;
  }
  let found = pattern.github.exec(text);
  if (found) return [github(found, text.slice(found[0].length))];
  for (const note of notes) {
    found = note.exec(text);
    if (found) return [{ kind: found[1], note: true, text: noted(found[2] ?? "", text.slice(found[0].length)) }];
  }
  for (const { form, block, test } of errors) if (test.test(text)) return [{ kind: "error", form, block }];
  if (warnings.some((warning) => warning.test(text))) return [{ kind: "warning" }];
  if (pattern.hunk.test(text)) return [{ kind: "hunk" }];
  if (pattern.reopen.test(text)) return [{ kind: "reopen", bare: true }];
  found = pattern.buildkite.exec(text);
  return found ? buildkite(found[1], found[2] + text.slice(found[0].length)) : [];
}

function github([, end, ending], rest) {
  if (end || ending) return { kind: "close", form: "github", bare: !rest.trim() };
  return { kind: "open", form: "github", title: rest };
}

/** Markers of GitLab may follow each other on a line, and text may follow them. */
function gitlab(text) {
  const marks = [];
  let rest = text;
  for (let found = section.exec(rest); found; found = section.exec(rest)) {
    const [whole, what, time, name, wishes = ""] = found;
    const kept = whole.startsWith("K") ? 1 : 0; // the end of the sequence before the marker
    rest = rest.slice(0, found.index + kept) + rest.slice(found.index + whole.length);
    const mark = { form: "gitlab", name, time: Number(time) };
    if (what === "start") marks.push({ kind: "open", ...mark, title: "", folded: /collapsed=true/.test(wishes) });
    else marks.push({ kind: "close", ...mark, bare: false });
  }
  const last = marks.at(-1);
  const words = rest.replaceAll(new RegExp(COLOURS, "g"), "").trim();
  if (last?.kind === "open") last.title = rest;
  else if (last) for (const mark of marks) mark.bare = !words;
  return marks;
}

function buildkite(style, title) {
  // `--- PASS: Test` is of Go, `--- host ping statistics ---` of ping.
  if (/^(?:PASS|SKIP|BENCH): /.test(title) || /-{3}\s*$/.test(title)) return [];
  return [{ kind: "open", form: "buildkite", title, expanded: style === "+++" }];
}

/** Returns the text of an annotation, with its place and its title before it. */
function noted(properties, message) {
  const given = Object.fromEntries(
    properties.split(",").map((each) => each.trim().split("=")).filter((pair) => pair.length === 2),
  );
  const place = given.file && [given.file, given.line, given.col].filter(Boolean).join(":");
  return [place, given.title, message].filter(Boolean).map(unescaped).join(": ");
}

const ESCAPES = { "%25": "%", "%0D": "", "%0A": " ", "%3A": ":", "%2C": "," };

function unescaped(text) {
  return text.replaceAll(/%(?:25|0D|0A|3A|2C)/gi, (code) => ESCAPES[code.toUpperCase()]);
}
