// The pure modules of the page: node --test tests/page/js

import assert from "node:assert/strict";
import { test } from "node:test";

const from = (name) => import(new URL(`../../../src/loom/http/pages/assets/${name}.js`, import.meta.url));
const { PLAIN, asSent, plain, render, styleAfter } = await from("ansi");
const { Block, SHOWN, SIZE, Tail } = await from("blocks");
const { Places } = await from("places");
const { Decoder } = await from("sse");
const { parseFilter, queryOf, matches, completions, narrows, ACTIVE } = await from("filter");
const { parseFragment, formatLines } = await from("fragment");
const { isBinary, hexRows } = await from("binary");
const { wordOf, detailOf } = await from("outcome");
const { expressionOf, findIn, markerOf } = await from("pattern");
const { objectsOf } = await from("ndjson");
const format = await from("format");

const bytes = (text) => new TextEncoder().encode(text);
const runs = (text, style) => render(text, style).runs.map(({ text, style }) => [text, { ...style }]);

test("16, 256 and 16 million colours, and attributes that are set and reset", () => {
  assert.deepEqual(runs("a\x1b[31mb\x1b[1;97mc\x1b[22;39md"), [
    ["a", {}], ["b", { fg: 1 }], ["c", { fg: 15, bold: true }], ["d", {}],
  ]);
  assert.deepEqual(runs("\x1b[38;5;196mx"), [["x", { fg: "rgb(255,0,0)" }]]);
  assert.deepEqual(runs("\x1b[38;5;9;4mx"), [["x", { fg: 9, underline: true }]]);
  assert.deepEqual(runs("\x1b[48;2;1;2;3mx"), [["x", { bg: "rgb(1,2,3)" }]]);
  assert.deepEqual(runs("\x1b[38:2::1:2:3mx"), [["x", { fg: "rgb(1,2,3)" }]]);
  assert.deepEqual(runs("\x1b[38;5;250mx\x1b[mx"), [["x", { fg: "rgb(188,188,188)" }], ["x", {}]]);
});

test("the style after a line is that at the start of the next", () => {
  const { style } = render("\x1b[1;35mopen");
  assert.deepEqual({ ...style }, { bold: true, fg: 5 });
  assert.deepEqual(styleAfter("\x1b[1;35mopen", PLAIN), style);
  assert.deepEqual(runs("next", style), [["next", { bold: true, fg: 5 }]]);
});

test("a line that overwrites itself is rendered as by a terminal", () => {
  const rows = [
    ["10%\r100%", "100%"], ["long text\rab", "abng text"], ["long text\r\x1b[Kab", "ab"], ["abc\b\bX", "aXc"],
    ["crlf\r", "crlf"], ["\x1b[2Kx", "x"], ["a\x1b[5Gb", "a   b"], ["abcdef\x1b[3Dxx", "abcxxf"],
  ];
  for (const [text, shown] of rows) assert.equal(plain(text), shown, JSON.stringify(text));
});

test("unknown sequences are dropped, incomplete ones are shown", () => {
  assert.equal(plain("\x1b]0;title\x07a\x1b(Bb\x1b[?25lc\x1b[2Jd"), "abcd");
  assert.equal(plain("\x1b]0;never ends"), "^[]0;never ends");
  assert.equal(plain("nul\0bell\x07"), "nul^@bell^G");
  assert.ok(plain("\x1b[999999999Cx").length < 20_000);
});

test("a line as it was sent has its control characters in caret notation", () => {
  const shown = asSent("\x1b[1mbold\r\x7f\x9b\ttab").map(({ text, style }) => (style.control ? [text] : text));
  assert.deepEqual(shown, [["^["], "[1mbold", ["^M^?M-^["], "\ttab"]);
});

test("only web addresses become links", () => {
  assert.deepEqual(runs("\x1b]8;;https://a.b/\x1b\\x\x1b]8;;\x1b\\y"), [["x", { link: "https://a.b/" }], ["y", {}]]);
  assert.deepEqual(runs("\x1b]8;;javascript:alert(1)\x07x"), [["x", {}]]);
});

test("a tail cut anywhere gives the same lines", () => {
  const text = Array.from({ length: 9000 }, (_, at) => `line ${at} ${"é".repeat(at % 50)}`).join("\n");
  const data = bytes(text);
  for (const step of [1 + (SIZE >> 6), 1000, data.length]) {
    const tail = new Tail(1, 0);
    const full = [];
    for (let at = 0; at < data.length; at += step) full.push(...tail.feed(data.subarray(at, at + step)));
    const lines = [...full, tail.block].flatMap((block) =>
      Array.from({ length: block.count }, (_, at) => block.line(block.first + at).text),
    );
    assert.equal(lines.join("\n"), text);
    assert.equal(tail.stop, data.length);
  }
});

test("a very long line is kept in part, whatever its length", () => {
  const tail = new Tail(1, 0);
  const full = [...tail.feed(bytes("a\n")), ...Array.from({ length: 40 }, () => tail.feed(bytes("x".repeat(SIZE)))).flat()];
  assert.ok(tail.block.bytes.length <= SHOWN);
  full.push(...tail.feed(bytes("\nb\n")));
  const cut = full.find((block) => block.cut);
  assert.equal(cut.line(2).hidden, 40 * SIZE + 1 - SHOWN);
  assert.equal(tail.block.line(3).text, "b");
});

test("styles continue from line to line of a block", () => {
  const block = new Block(7, 100, bytes("\x1b[31mred\nstill\x1b[0m\nplain\n"));
  assert.deepEqual([7, 8, 9].map((line) => block.line(line).style.fg), [undefined, 1, undefined]);
  assert.deepEqual(block.span(8), [109, 119]);
});

test("places are found, added in any order and bounded", () => {
  const places = new Places();
  places.learn([{ line: 10, offset: 100 }, { line: 20, offset: 200 }]);
  places.learn([{ line: 10, offset: 100 }, { line: 15, offset: 150 }]);
  assert.deepEqual(places.before(14), { line: 10, offset: 100 });
  assert.equal(places.after(14).line, 15);
  for (let line = 21; line < 200_000; line += 1) places.append(line, line * 10);
  assert.equal(places.last.line, 199_999);
  assert.ok(places.before(100_000).line > 80_000);
});

test("events survive being cut anywhere", () => {
  const text = ": beat\n\nid: 1\nevent: end\ndata: a\ndata: b\r\n\nretry: 10\nid: 2\n\ndata: last\n\n";
  const whole = new Decoder().feed(text);
  const decoder = new Decoder();
  assert.deepEqual([...text].flatMap((char) => decoder.feed(char)), whole);
  assert.deepEqual(whole, [{ name: "end", data: "a\nb", id: "1" }, { name: "message", data: "last", id: "2" }]);
  assert.deepEqual([decoder.retry, decoder.id], [10, "2"]);
});

test("a filter is parsed", () => {
  const filter = parseFilter('42 state:live commit=3f2 meta.t="a b"', "build/");
  assert.deepEqual(filter, {
    prefix: "build/", contains: "42", states: ["live"], outcomes: [], metadata: [["commit", "3f2"], ["t", "a b"]], errors: [],
  });
  assert.equal(
    String(queryOf(filter, ACTIVE, { limit: 5 })),
    "state=live&prefix=build%2F&contains=42&meta.commit=3f2&meta.t=a+b&limit=5",
  );
  assert.equal(queryOf(filter, ["complete"]), null);
  const row = { id: "build/142", state: "live", metadata: { commit: "3f2", t: "a b" } };
  assert.ok(matches(filter, row) && narrows(filter));
  assert.ok(!matches(filter, { ...row, metadata: null }) && !matches(filter, { ...row, id: "build/1" }));
});

test("an outcome is a filter of complete streams, and an unknown word is a mistake", () => {
  const failed = parseFilter("outcome:failure");
  assert.equal(String(queryOf(failed)), "state=complete&outcome=failure");
  assert.equal(queryOf(failed, ACTIVE), null);
  assert.ok(matches(failed, { id: "a", state: "complete", outcome: "failure" }) && !matches(failed, { id: "a", state: "complete" }));
  assert.deepEqual(parseFilter("is:failure,live"), { ...parseFilter(""), states: ["live"], outcomes: ["failure"] });
  for (const text of ["state:bogus", "state:", "one two"]) {
    assert.equal(parseFilter(text).errors.length, 1, text);
    assert.equal(queryOf(parseFilter(text)), null);
  }
  assert.ok(!narrows(parseFilter("", "build/")));
});

test("words are completed from the keys and values in view", () => {
  const rows = [{ metadata: { commit: "3f2a", title: "a b" } }, { metadata: [1] }, { metadata: null }];
  assert.deepEqual(completions("x co", rows), ["x commit="]);
  assert.deepEqual(completions("commit=3", rows), ["commit=3f2a"]);
  assert.deepEqual(completions("title=", rows), ['title="a b"']);
  assert.deepEqual(completions("outcome:f", rows), ["outcome:failure"]);
});

test("a stream's standing is its outcome, else its state", () => {
  const now = Date.parse("2026-11-28T14:48:00");
  assert.equal(wordOf({ state: "complete", outcome: "failure" }), "failure");
  assert.equal(wordOf({ state: "gone", outcome: "success" }), "gone");
  assert.equal(detailOf({ state: "complete", outcome: "failure", metadata: { exit_code: 2 } }), "exit code 2");
  const deadline = new Date(now + 10_000).toISOString();
  assert.equal(detailOf({ state: "interrupted", deadline }, now), "waits for its producer until 14:48:10");
  assert.equal(detailOf({ state: "aborted", reason: "no room" }), "no room");
});

test("fragments have lines and a token", () => {
  assert.deepEqual(parseFragment("#L20-L10"), { lines: [10, 20], token: "" });
  assert.deepEqual(parseFragment("#token=a%2Eb&L3"), { lines: [3, 3], token: "a.b" });
  assert.deepEqual(parseFragment("#L0"), { lines: null, token: "" });
  assert.equal(formatLines([3, 3]) + formatLines([1, 2]) + formatLines(null), "#L3#L1-L2");
});

test("a text is searched whatever its colours, and its characters are no syntax", () => {
  assert.equal(expressionOf("a.(b|c)", true), "a.(b|c)");
  const [first, ...rest] = expressionOf("x.y", false).split(String.raw`(?:\x1b\[[0-9;:]*m)*`);
  assert.deepEqual([first, ...rest], ["x", "\\.", "y"]);
  assert.deepEqual(findIn(markerOf("x.y", {}), "xay X.Y"), [{ start: 4, stop: 7 }]);
  assert.deepEqual(findIn(markerOf("(?i)x", { regex: true }), "x").length <= 1, true);
});

test("JSON lines are read however they are cut", async () => {
  const text = bytes('{"line":1,"text":"é"}\n{"line":2}\n');
  const body = new ReadableStream({
    start: (out) => ([...text].forEach((byte) => out.enqueue(new Uint8Array([byte]))), out.close()),
  });
  const found = [];
  for await (const object of objectsOf(body)) found.push(object);
  assert.deepEqual(found, [{ line: 1, text: "é" }, { line: 2 }]);
});

test("bytes decide what is text", () => {
  assert.ok(isBinary(new Uint8Array([1, 2, 0])));
  assert.ok(!isBinary(bytes("\x1b[31mplain\r\n".repeat(9))));
  assert.ok(!isBinary(new Uint8Array([...bytes("mostly text"), 0xff])));
  assert.equal(hexRows(bytes("AB\n"))[0].text, "AB·");
});

test("numbers and times are formatted", () => {
  assert.deepEqual([0, 1, 2000].map((number) => format.amount(number, "line")), ["0 lines", "1 line", "2,000 lines"]);
  assert.deepEqual([0, 1023, 1024, 10240, 2 ** 31].map(format.bytes), ["0 B", "1023 B", "1.0 KiB", "10 KiB", "2.0 GiB"]);
  assert.deepEqual([5, 65, 7200, 90000].map(format.span), ["5s", "1m 5s", "2h", "1d 1h"]);
  assert.equal(format.pathOf("a/b c%"), "/ui/stream/a/b%20c%25");
  assert.equal(format.idOf("/ui/stream/a/b%20c%25"), "a/b c%");
});
