import { expect, it } from "vitest";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import * as twin from "../reference/mxfp4.ts";
import { dequantizeEden, type Eden, quantizeEden } from "../support/mxfp4.ts";
import "../support/kernels.ts";
import { normals } from "../support/random.ts";

const KEY = noiseKey(7, PURPOSE.wireFactors, 3, 1);
/** Of the first segment in its vector. */
const FIRST = 5;

const quantize = (x: Float32Array, key = KEY): Eden =>
  quantizeEden(x, key, 64 * FIRST);

/** Normal draws at sizes from the smallest to near the largest, and what the factor's ends need. */
function segments(): Float32Array {
  const sizes = [-149, -140, -126, -100, -1, 0, 3, 60, 120];
  const draws = sizes.map((size, i) =>
    normals(64, 40 + i).map((value) => Math.fround(value * 2 ** size)),
  );
  const of = (largest: number, other: number): Float32Array =>
    Float32Array.from({ length: 64 }, (_, i) => (i % 32 ? other : largest));
  const apart = normals(64, 60).map((value, i) => value * (i < 32 ? 1 : 1e-6));
  return Float32Array.from(
    [
      ...draws,
      of(5.01, 0.2501), // the least factor there can be: 0.79
      of(7.99, 0.2499), // the largest: 1.38
      of(5, 0.75),
      of(0, 0),
      of(-0, 0),
      of(NaN, 1),
      of(1, Infinity),
      apart,
    ].flatMap((part) => [...part]),
  );
}

it("is Algorithm 1, and writes the factor of each segment as its definition does", () => {
  const x = segments();
  const got = quantize(x);
  const own = twin.quantizeMxfp4(x, { ties: "even" }, "floor", 1);
  expect(got.elements).toEqual(own.elements);
  expect(got.scales).toEqual(own.scales);
  const factors = twin.edenFactors(x, own);
  expect([...got.factors]).toEqual(
    factors.map((factor, i) => twin.factorCode(factor, KEY, FIRST + i)),
  );
  // Where no scale is at its end, the factor is within its bounds, and these cases reach them.
  const ordinary = factors.slice(2);
  expect(Math.min(...ordinary)).toBeGreaterThan(0.79);
  expect(Math.min(...ordinary)).toBeLessThan(0.8);
  expect(Math.max(...ordinary)).toBeLessThan(1.38);
  expect(Math.max(...ordinary)).toBeGreaterThan(1.37);
});

it("reads what it wrote: elements times scale times factor", () => {
  const got = quantize(segments());
  const values = dequantizeEden(got);
  const expected = values.map((_, i) => {
    const code = (got.elements[i >> 1]! >> (4 * (i % 2))) & 15;
    const scale = twin.decodeScale(got.scales[Math.floor(i / 32)]!);
    const factor = (192 + got.factors[Math.floor(i / 64)]!) / 256;
    return twin.decodeElement(code) * scale * factor;
  });
  expect(values).toEqual(expected);
});

it("draws factors whose mean is the factor", () => {
  const x = normals(64 * 32, 70);
  const own = twin.quantizeMxfp4(x, { ties: "even" }, "floor", 1);
  const factors = twin.edenFactors(x, own);
  const draws = 1024;
  const means = factors.map(() => 0);
  for (let draw = 0; draw < draws; draw++) {
    const key = noiseKey(draw, PURPOSE.wireFactors, 0, 0);
    for (const [i, code] of quantize(x, key).factors.entries()) {
      means[i]! += (192 + code) / 256 / draws;
    }
  }
  // One draw is off by at most half a step in standard deviation: five of the mean's.
  const tolerance = (5 * 0.5) / 256 / Math.sqrt(draws);
  for (const [i, factor] of factors.entries()) {
    expect(Math.abs(means[i]! - factor), `${i}`).toBeLessThan(tolerance);
  }
});
