import assert from "node:assert/strict";
import test from "node:test";
import { firstOutput, shiftedTime } from "./time.mjs";

const cast = [
  '{"version":3,"term":{"cols":80,"rows":24}}',
  '[1, "o", "at 1, shown at 1"]',
  '[10.5, "o", "at 11.5, shown at 3"]',
  '[0.5, "o", "[9,9] at 12, shown at 3.5"]',
  '[100, "x", "0"]',
].join("\n");

for (const [seconds, want] of [
  [0, 0],
  [1, 1],
  [2, 2], // in the pause, in its part that is shown
  [9, 3], // in the pause, in its part that is left out
  [11.5, 3],
  [12, 3.5],
  [112, 5.5],
  [1000, 5.5], // past the end
]) {
  test(`${seconds} s of the recording`, () => assert.equal(shiftedTime(cast, seconds, 2), want));
}

test("an empty recording", () => assert.equal(shiftedTime("{}", 5, 2), 0));

test("the first output", () => {
  assert.equal(firstOutput(cast), 1);
  assert.equal(firstOutput('{}\n[1.5, "i", "x"]\n[1, "o", "y"]'), 2.5);
  assert.equal(firstOutput('{}\n[1.5, "x", "0"]'), 0);
});
