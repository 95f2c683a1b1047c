// Times of arrival: node --test tests/page/js

import assert from "node:assert/strict";
import { test } from "node:test";

const from = (name) => import(new URL(`../../../src/loom/http/pages/assets/${name}.js`, import.meta.url));
const { Times } = await from("times");
const { clock, elapsed } = await from("format");

test("a byte has the time of the last moment at or before it", () => {
  const times = new Times();
  assert.equal(times.at(0), null);
  assert.equal(times.until, 0);
  times.learn([[0, 100, 1], [50, 103, 1], [51, 110, 4]]);
  const seconds = [0, 49, 50, 51, 1e9].map((offset) => times.at(offset).time / 1000);
  assert.deepEqual(seconds, [100, 100, 103, 110, 110]);
  assert.equal(times.at(60).grain, 4000);
});

test("later answers add moments, and replace those that the server has thinned out", () => {
  const times = new Times();
  times.learn([[0, 100, 1], [50, 103, 1], [60, 105, 1]]);
  assert.equal(times.until, 60);
  times.learn([[60, 105, 1], [70, 120, 1]]);
  times.learn([]);
  assert.deepEqual([55, 65, 75].map((offset) => times.at(offset).time / 1000), [103, 105, 120]);
  times.learn([[50, 103, 16], [80, 121, 2]]);
  assert.deepEqual([65, 75, 85].map((offset) => times.at(offset).time / 1000), [103, 103, 121]);
});

test("times of day have seconds, elapsed times have hours where needed", () => {
  assert.match(clock(1234567), /^\d\d:20:34$/);
  assert.deepEqual([-5, 7_999, 60_000, 754_000, 93_839_000].map(elapsed), ["0:00", "0:07", "1:00", "12:34", "26:03:59"]);
});
