/** Histograms of a tensor's front before and after quantizing, and of its elements and scales. */
import type { Scheme } from "../../api/scheme.ts";
import { roundingKey } from "../../formats/blocks/block-pieces.ts";
import type { FloatDtype } from "../../formats/dtype.ts";
import { eachPiece, type LoadedPiece } from "./loaded-pieces.ts";

type Histogram = { from: number; to: number; counts: number[] };

export type Spread = {
  before: Histogram;
  after: Histogram;
  /** Counts of each E2M1 value; empty for other formats. */
  grid: { value: number; count: number }[];
  /** Counts of each scale exponent; 128 for NaN. */
  scales: { exponent: number; count: number }[];
  /** Number of elements in the histograms. */
  elements: number;
};

const BINS = 61;

export function spreadOf(
  pieces: readonly LoadedPiece[],
  dtype: FloatDtype,
  scheme: Scheme,
  position: number,
): Spread {
  const key = roundingKey(scheme.seed, position);
  let largest = 0;
  const grid = new Map<number, number>();
  const exponents = new Map<number, number>();
  let length = 0;
  const add = (map: Map<number, number>, value: number) =>
    map.set(value, (map.get(value) ?? 0) + 1);
  eachPiece(pieces, dtype, scheme, key, (x, _, elements, scales) => {
    length += x.length;
    for (const value of x)
      if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
    for (const value of elements) add(grid, value);
    for (const scale of scales) add(exponents, scale - 127);
  });
  const edge = largest || 1;
  const counts = { before: empty(), after: empty() };
  eachPiece(pieces, dtype, scheme, key, (x, y) => {
    tally(counts.before, x, edge);
    tally(counts.after, y, edge);
  });
  const range = { from: -edge, to: edge };
  const sorted = (map: Map<number, number>) =>
    [...map].sort(([a], [b]) => a - b);
  return {
    before: { ...range, counts: counts.before },
    after: { ...range, counts: counts.after },
    grid:
      scheme.format === "mxfp4"
        ? sorted(grid).map(([value, count]) => ({ value, count }))
        : [],
    scales: sorted(exponents).map(([exponent, count]) => ({ exponent, count })),
    elements: length,
  };
}

function empty(): number[] {
  return Array.from({ length: BINS }, () => 0);
}

function tally(counts: number[], values: Float32Array, edge: number): void {
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    const bin = Math.floor(((value / edge + 1) / 2) * BINS);
    counts[Math.min(BINS - 1, Math.max(0, bin))]!++;
  }
}
