// Sections, errors and folds: node --test tests/page/js

import assert from "node:assert/strict";
import { test } from "node:test";

const from = (name) => import(new URL(`../../../src/loom/http/pages/assets/${name}.js`, import.meta.url));
const { MARKED, marksOf } = await from("markers");
const { Outline, isOpen } = await from("outline");
const { Lines } = await from("lines");
const { Folds, foldsOf } = await from("folds");

/** Returns the outline of a text, whose offsets are the line numbers times ten. */
function outlineOf(text) {
  const outline = new Outline();
  text.split("\n").forEach((line, at) => outline.add(at + 1, 10 * (at + 1), marksOf(line)));
  return outline;
}

const brief = ({ sections }) => sections.map(({ line, last, title, parent }) => [title, line, last, parent?.title ?? null]);

/** Returns what a reader sees of a text: the lines that are not hidden. */
function shown(text, went = "well") {
  const outline = outlineOf(text);
  const folds = foldsOf(outline, (section) => isOpen(section, went));
  const lines = text.split("\n");
  return Array.from({ length: folds.rows(lines.length) }, (_, at) => lines[folds.lineAt(at + 1) - 1]);
}

test("groups of GitHub are nested and closed, in both notations", () => {
  const text = "::group::Build\na\n##[group]Inner\nb\n##[endgroup]\nc\n::endgroup::\nd\n::group::Last\ne";
  assert.deepEqual(brief(outlineOf(text)), [["Build", 1, 7, null], ["Inner", 3, 5, "Build"], ["Last", 9, null, null]]);
  assert.deepEqual(outlineOf(text).around(4).map(({ title }) => title), ["Inner", "Build"]);
  assert.deepEqual(outlineOf(text).around(1), []);
});

test("sections of GitLab are closed by name, and say how long they took", () => {
  const text = [
    "\x1b[0Ksection_start:100:prepare[collapsed=true]\r\x1b[0K\x1b[36;1mPreparing\x1b[0m", "one",
    "\x1b[0Ksection_end:107:prepare\r\x1b[0K\x1b[0Ksection_start:107:build\r\x1b[0KBuilding", "two",
    "section_start:110:inner\r\x1b[0KInner", "three", "section_end:130:build\r\x1b[0K", "four",
  ].join("\n");
  const outline = outlineOf(text);
  assert.deepEqual(outline.sections.map(({ line, last, took }) => [line, last, took]), [[1, 2, 7], [3, 7, 23], [5, 7, null]]);
  assert.deepEqual(outline.hidden, [7]);
  assert.equal(outline.sections[0].folded, true);
});

test("sections of Buildkite follow each other", () => {
  const text = "~~~ Setup\na\n--- :docker: Build\nb\n+++ Test\nc\n--- Clean\nd\n^^^ +++\ne";
  const outline = outlineOf(text);
  assert.deepEqual(outline.sections.map(({ title, line, last }) => [title, line, last]), [
    ["Setup", 1, 2], [":docker: Build", 3, 4], ["Test", 5, 6], ["Clean", 7, null],
  ]);
  assert.deepEqual(outline.sections.map(({ expanded }) => expanded), [false, false, true, true]);
  assert.deepEqual(outlineOf("\x1b_bk;t=1598370645480\x07~~~ Prepare").sections.length, 1);
});

test("diffs, results of Go and rules are no sections", () => {
  const diff = "--- a/one.c\n+++ b/one.c\n@@ -1,2 +1,2 @@\n-a\n+b";
  assert.deepEqual(brief(outlineOf(diff)), []);
  assert.deepEqual(brief(outlineOf(`--- Build\nx\n${diff}\ny\n--- Next`)), [["Build", 1, 8, null], ["Next", 9, null, null]]);
  for (const line of ["---", "--- PASS: TestOne (0.00s)", "--- 10.0.0.1 ping statistics ---", "---- x", "--- /dev/null", "+++", "::endgroup::"]) {
    assert.deepEqual(brief(outlineOf(line)), [], line);
  }
  assert.deepEqual(brief(outlineOf("::group::One\n::endgroup::\n--- not of Buildkite")), [["One", 1, 2, null]]);
});

const ERRORS = [
  "error: could not compile", "Error: Process completed with exit code 1.", "error[E0308]: mismatched types",
  "\x1b[1m\x1b[91merror[E0308]\x1b[0m\x1b[1m: mismatched types", "fatal: not a git repository", "panic: runtime error",
  "foo.c:3:5: error: 'x' undeclared", "foo.c:3: fatal error: x.h: No such file", "collect2: error: ld returned 1",
  "\x1b[01m\x1b[Kfoo.c:3:5:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kx", "src/a.ts(3,5): error TS2322: x",
  "\x1b[96msrc/a.ts\x1b[0m:\x1b[93m3\x1b[0m:\x1b[93m5\x1b[0m - \x1b[91merror\x1b[0m\x1b[90m TS2322: \x1b[0mx",
  "C:\\a.c(3): error C2143: syntax error", "Traceback (most recent call last):", "TypeError: x is not a function",
  'Exception in thread "main" java.lang.Error', "FAILED tests/test_a.py::test_b - assert 1 == 2", "FAIL src/a.test.js",
  "--- FAIL: TestOne (0.00s)", "not ok 3 - adds", "test tests::adds ... FAILED", "[  FAILED  ] Suite.test",
  "E       assert 1 == 2", "npm ERR! code ELIFECYCLE", "npm error code 1", "[ERROR] Failed to execute goal",
  "make: *** [Makefile:2: all] Error 2", "BUILD FAILED", "bash: line 1: foo: command not found",
  "2026-01-31T12:00:00.1234567Z error: in a log of GitHub", "::error file=a.js,line=1::no", "##[error]no",
];
const FINE = [
  "0 errors, 2 warnings", "no error: all is well", "error handling is tested", "compiled without error", "errors: 0", "Error",
  "see https://example.com/error: more", "INFO error: none", "test tests::adds ... ok", "ok 3 - adds", "EFAILED", "FAILEDx",
  "npm errors", "npm warn deprecated", "Tracebacks", "make: Nothing to be done", "GET /error: 200", "def error():", "",
  "    raise ValueError('error: x')", "- error: in a list", "::error", "::set-output name=error::x", "[ERROR", "panic",
];

test("the rule of what is an error", () => {
  const kind = (line) => marksOf(line)[0]?.kind;
  for (const line of ERRORS) assert.equal(kind(line), "error", line);
  for (const line of FINE) assert.equal(kind(line), undefined, line);
  for (const line of ["a.c:1:2: warning: unused", "::warning::old", "##[warning]old", "warning: unused"]) {
    assert.equal(kind(line), "warning", line);
  }
  const marked = new RegExp(MARKED);
  for (const line of ERRORS) assert.match(line, marked);
});

test("annotations are shown as text, with their place", () => {
  const text = (line) => marksOf(line)[0].text;
  assert.equal(text("::error file=app.js,line=10,col=15::Bad%3A 50%25"), "app.js:10:15: Bad: 50%");
  assert.equal(text("::warning title=Old,file=a%2Cb.js::use%0Anew"), "a,b.js: Old: use new");
  assert.equal(text("##[error]Process completed with exit code 1."), "Process completed with exit code 1.");
  assert.equal(marksOf("::notice::hello")[0].kind, "notice");
});

test("what belongs together is one error", () => {
  const text = [
    "npm ERR! code 1", "npm ERR! path /x", "", "npm ERR! later", "Traceback (most recent call last):", '  File "a.py"',
    "ValueError: x", "a.c:1:1: error: one", "a.c:2:1: error: two", "##[error]a", "##[error]b", "TypeError: y",
  ];
  assert.deepEqual(outlineOf(text.join("\n")).errors, [1, 4, 5, 8, 9, 10, 11, 12]);
});

test("sections that went well are folded, those with an error and the current one are open", () => {
  const text = "::group::Good\na\n::endgroup::\n::group::Bad\n::group::Inner\nerror: x\n::endgroup::\n::endgroup::\nend\n::group::Now\nb";
  const rest = ["::group::Good", "::group::Bad", "::group::Inner", "error: x", "end", "::group::Now"];
  assert.deepEqual(shown(text), rest);
  assert.deepEqual(shown(text, "live"), [...rest, "b"]);
  assert.deepEqual(shown(text, "badly"), [...rest, "b"]);
  assert.deepEqual(outlineOf(text).sections.map(({ errors }) => errors), [0, 1, 1, 0]);
});

test("rows and lines are found from each other", () => {
  const folds = new Folds([[3, 5], [4, 4], [6, 6], [10, 12], [20, Infinity]]);
  const lines = Array.from({ length: folds.rows(1000) }, (_, at) => folds.lineAt(at + 1));
  assert.deepEqual(lines, [1, 2, 7, 8, 9, 13, 14, 15, 16, 17, 18, 19]);
  for (const [at, line] of lines.entries()) assert.equal(folds.rowOf(line), at + 1);
  assert.deepEqual([3, 6, 11, 500].map((line) => lines[folds.rowOf(line) - 1]), [2, 2, 9, 19]);
  assert.deepEqual([2, 3, 6, 7, 12, 21].map((line) => folds.hides(line)), [false, true, true, false, true, true]);
  assert.deepEqual([0, 2, 3, 4, 7].map((count) => folds.rows(count)), [0, 2, 2, 2, 3]);
  const plain = new Folds();
  assert.deepEqual([plain.rows(9), plain.rowOf(7), plain.lineAt(7), plain.hides(7)], [9, 7, 7, false]);
});

test("lines are the same however their bytes are cut", () => {
  const text = "one\r\n\n\u00e9\u4e16 two\n" + "x".repeat(9000) + "\nlast, without an end";
  const data = new TextEncoder().encode(text);
  const expected = [];
  let offset = 0;
  for (const [at, line] of text.split("\n").entries()) {
    expected.push({ line: at + 7, offset: offset + 100, text: line.slice(0, 4096) });
    offset += new TextEncoder().encode(line).length + 1;
  }
  for (const size of [1, 3, 4096, data.length]) {
    const lines = new Lines(7, 100);
    const found = [];
    for (let at = 0; at < data.length; at += size) found.push(...lines.feed(data.subarray(at, at + size)));
    found.push(...lines.finish(), ...lines.finish());
    assert.deepEqual(found.map((each) => ({ ...each, text: each.text.slice(0, 4096) })), expected, `cut after ${size} bytes`);
  }
});

test("hostile lines cost little", () => {
  const begun = performance.now();
  for (const line of ["\x1b[31m\x1b[1m".repeat(20_000), "a:1".repeat(30_000), `::error ${"a:".repeat(50_000)}`, " ".repeat(90_000)]) {
    assert.ok(marksOf(line).length <= 1);
  }
  assert.ok(performance.now() - begun < 1000);
  const outline = new Outline();
  for (let line = 1; line <= 200_000; line += 1) outline.add(line, line, marksOf("::group::deeper"));
  assert.ok(outline.full);
  assert.ok(outline.sections.length <= 100_000);
  const flat = new Outline();
  for (let line = 1; line <= 100_000; line += 1) flat.add(line, line, marksOf("--- next"));
  assert.equal(flat.sections.length, 100_000);
  assert.ok(performance.now() - begun < 5000);
});
