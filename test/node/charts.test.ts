/** What is drawn of a series, without a browser. */
import { expect, test } from "vitest";
import { lossWords, tickLabels } from "../../src/pages/shell/format.ts";
import { extremes, outliers, smoothed } from "../../src/pages/charts/smooth.ts";

const x = Array.from({ length: 1000 }, (_, i) => i);
const values = x.map((i) => Math.sin(i / 50) + (i % 7) / 10);

test("a trend is a mean whose weights halve, right from its start", () => {
  expect(smoothed([1, 3], 1)).toEqual([1, (0.25 * 1 + 0.5 * 3) / 0.75]);
  expect(smoothed([5, 5, null, 5], 4)).toEqual([5, 5, null, 5]);
  expect(smoothed([1, 2, 9], 0)).toEqual([1, 2, 9]);
});

test.each([10, 100, 5000])(
  "drawn with %i points, it keeps the trend and the extremes of all",
  (points) => {
    const trend = smoothed(values, 8);
    const drawn = extremes(x, values, trend, [0, 999], points);
    expect(drawn.x.length).toBeLessThanOrEqual(points);
    expect(Math.min(...(drawn.least as number[]))).toBe(Math.min(...values));
    expect(Math.max(...(drawn.most as number[]))).toBe(Math.max(...values));
    for (const [i, at] of drawn.x.entries())
      expect(drawn.trend[i]).toBe(trend[at]);
  },
);

test("where values are few among many steps, each has its own place", () => {
  const few = x.map((i) => (i % 100 === 30 ? i : null));
  const drawn = extremes(x, few, few, [0, 999], 20);
  expect(drawn.x).toEqual(few.filter((value) => value !== null));
  expect(drawn.trend).toEqual(drawn.x);
});

test("values of one place are drawn as one, with the extremes of all", () => {
  const drawn = extremes(
    [0, 1, 1, 1, 2],
    [5, 9, 1, 4, 5],
    [5, 7, 6, 5, 5],
    [0, 2],
    50,
  );
  expect(drawn).toEqual({
    x: [0, 1, 2],
    least: [5, 1, 5],
    most: [5, 9, 5],
    trend: [5, 5, 5],
  });
});

test("of a part of the axis only that part is drawn, and its edges", () => {
  const drawn = extremes(x, values, values, [100, 110], 500);
  expect(drawn.x).toEqual(x.slice(99, 112));
});

test.each([
  [
    [5.8412, 5.8414, null, 5.8416],
    ["5.8412", "5.8414", "", "5.8416"],
  ],
  [
    [0, 0.5, 1],
    ["0", "0.5", "1"],
  ],
  [
    [1.0001e-5, 1.0002e-5],
    ["1.0001e-5", "1.0002e-5"],
  ],
  [
    [2, 2],
    ["2", "2"],
  ],
])("ticks at %j are told apart", (values, labels) => {
  expect(tickLabels(values)).toEqual(labels);
});

test("what lies far from those before it stands out, and only that", () => {
  const calm = x.map((i) => (i === 500 ? 40 : values[i]!));
  expect(outliers(calm).flatMap((isFar, i) => (isFar ? [i] : []))).toEqual([
    500,
  ]);
  expect(outliers([1, 2, 100]).includes(true)).toBe(false);
});

test("a loss by the token is told by the byte too, where a token is more than one", () => {
  expect(lossWords(4.7194, 1.5275)).toBe(
    "4.719 nats per token, 1.528 per byte",
  );
  expect(lossWords(2.5, 2.5)).toBe("2.5 nats per token");
  // An earlier release told no more.
  expect(lossWords(2.5, undefined)).toBe("2.5 nats per token");
  expect(lossWords(null, null)).toBe("– nats per token");
});

test("what stands out is told by medians, as they are defined", () => {
  const median = (all: readonly number[]) => {
    const sorted = [...all].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 === 1
      ? sorted[middle]!
      : (sorted[middle - 1]! + sorted[middle]!) / 2;
  };
  // Some are equal, some far, and levels change, so that the window's oldest matter.
  const noisy = Array.from({ length: 3000 }, (_, i) => {
    const x = Math.sin(i * i) + (i % 900 < 450 ? 0 : 3);
    return i % 11 === 0 ? null : i % 5 === 0 ? Math.round(x) : x ** 5;
  });
  const expected = noisy.map((value, i) => {
    const before = noisy.slice(0, i).filter((each) => each !== null);
    const window = before.slice(-32);
    if (value === null || window.length < 8) return false;
    const middle = median(window);
    const far = 6 * 1.4826 * median(window.map((x) => Math.abs(x - middle)));
    return Math.abs(value - middle) > far;
  });
  expect(new Set(expected).size).toBe(2);
  expect(outliers(noisy)).toEqual(expected);
});
