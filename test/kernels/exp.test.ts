import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { exp } from "../../src/kernels/elementwise.ts";
import { expectClose, ulp } from "../support/close.ts";

function expOf(x: Float32Array): Float32Array {
  return arena.scope(() => {
    const source = arena.copyIn(x);
    const out = arena.allocF32(x.length);
    exp(out, source, x.length);
    return arena.f32(out, x.length).slice();
  });
}

describe("exp", () => {
  it("is within 2 ulp over its whole range, subnormal results included", () => {
    const x = Float32Array.from(
      { length: 200_001 },
      (_, i) => -104 + i * 0.00096,
    );
    const want = Float64Array.from(x, (value) => Math.exp(value));
    const tolerance = want.map((value) => 2 * ulp(value));
    const largest = 3.4028234663852886e38;
    const finite = x.filter((_, i) => want[i] <= largest).length;
    expect(finite).toBeGreaterThan(190_000);
    expectClose(
      expOf(x).subarray(0, finite),
      want.subarray(0, finite),
      tolerance,
    );
  });

  it("has its corner values in every lane and in the remainder", () => {
    const corners: [number, number][] = [
      [NaN, NaN],
      [Infinity, Infinity],
      [-Infinity, 0],
      [89, Infinity],
      [3e38, Infinity],
      [-3e38, 0],
      [-104, 0],
      [0, 1],
      [-0, 1],
      [2 ** -149, 1],
    ];
    for (const length of [1, 2, 3, 4, 5, 7, 8, 11]) {
      for (let at = 0; at < length; at++) {
        for (const [corner, want] of corners) {
          const x = new Float32Array(length);
          x[at] = corner;
          const expected = new Float64Array(length).fill(1);
          expected[at] = want;
          expectClose(expOf(x), expected, 0);
        }
      }
    }
  });
});
