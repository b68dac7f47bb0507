/** The sums of an analysis over pieces, and the figures computed from them. */
import type { SchemeFigures, TensorFigures } from "../../api/tensors.ts";
import type { Counts, Differences, Moments } from "../../kernels/statistics.ts";

/** The rule for recommending a scheme. */
export const RULE =
  "the first scheme whose SQNR is within 0.05 dB of the highest, among those with the fewest NaN";
const RULE_DB = 0.05;

type Sums = Differences & Counts;
/** Sums of one tensor, or of all. */
export type Tally = { elements: number; moments: Moments; schemes: Sums[] };

const SUMS = [
  "signal",
  "noise",
  "product",
  "power",
  "skipped",
  "most",
  "clipped",
  "zeroed",
  "lost",
] as const satisfies readonly (keyof Sums)[];
const MOMENTS = [
  "count",
  "mean",
  "second",
  "third",
  "fourth",
] as const satisfies readonly (keyof Moments)[];

/** Length of a tally as numbers: elements, moments, then each scheme's sums. */
export function tallyNumbers(schemes: number): number {
  return 1 + MOMENTS.length + SUMS.length * schemes;
}

export function writeTally(
  numbers: Float64Array,
  { elements, moments, schemes }: Tally,
): void {
  numbers.set([
    elements,
    ...MOMENTS.map((key) => moments[key]),
    ...schemes.flatMap((sums) => SUMS.map((key) => sums[key])),
  ]);
}

export function readTally(numbers: Float64Array, schemes: number): Tally {
  const tally = newTally(schemes);
  let at = 0;
  tally.elements = numbers[at++]!;
  for (const key of MOMENTS) tally.moments[key] = numbers[at++]!;
  for (const sums of tally.schemes)
    for (const key of SUMS) sums[key] = numbers[at++]!;
  return tally;
}

export function newTally(schemes: number): Tally {
  return {
    elements: 0,
    moments: zeros(MOMENTS),
    schemes: Array.from({ length: schemes }, () => zeros(SUMS)),
  };
}

/** Zero for each key. */
function zeros<Key extends string>(keys: readonly Key[]): Record<Key, number> {
  return Object.fromEntries(keys.map((key) => [key, 0])) as Record<Key, number>;
}

/** Add `more` to `sums`. */
export function addSums(sums: Sums, more: Sums): void {
  const most = Math.max(sums.most, more.most);
  for (const key of Object.keys(sums) as (keyof Sums)[]) sums[key] += more[key];
  sums.most = most;
}

/** The figures of a tally, by scheme name. docs/analyze.md defines each figure. */
export function figures(
  { elements, moments: m, schemes: sums }: Tally,
  schemes: readonly string[],
): TensorFigures {
  const all = sums.map((each, i) => schemeFigures(schemes[i]!, each, elements));
  return {
    elements,
    kurtosis: finite((m.count * m.fourth) / (m.second * m.second)),
    schemes: all,
    recommended: recommend(all, sums),
  };
}

function schemeFigures(
  scheme: string,
  sums: Sums,
  elements: number,
): SchemeFigures {
  const { signal, noise, product, power, skipped, most } = sums;
  const counted = elements - skipped;
  const share = (count: number): number =>
    elements > 0 ? count / elements : 0;
  return {
    scheme,
    sqnrDb: signal > 0 && noise > 0 ? decibels(signal / noise) : null,
    mse: finite(noise / counted),
    cosine: finite(product / Math.sqrt(signal * power)),
    maxError: counted > 0 ? most : null,
    clipped: share(sums.clipped),
    zeroed: share(sums.zeroed),
    nan: share(skipped),
  };
}

function recommend(
  all: readonly SchemeFigures[],
  sums: readonly Sums[],
): string | null {
  const fewest = Math.min(...all.map(({ nan }) => nan));
  // Zero error beats every SQNR.
  const score = (i: number): number =>
    sums[i]!.noise === 0 ? Infinity : (all[i]!.sqnrDb ?? -Infinity);
  const candidates = [...all.keys()].filter((i) => all[i]!.nan === fewest);
  const best = Math.max(...candidates.map(score));
  const first = candidates.find((i) => score(i) >= best - RULE_DB);
  return first === undefined || sums[first]!.signal === 0
    ? null
    : all[first]!.scheme;
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/** Terms of the series for ln. */
const TERMS = 24;
const LN2 = 0.6931471805599453;
const LN10 = 2.302585092994046;

/** 10 · log10(ratio) of a positive number; the same on every machine, unlike Math.log10. */
function decibels(ratio: number): number {
  let exponent = 0;
  let mantissa = ratio;
  for (; mantissa > 1.5; mantissa /= 2) exponent++;
  for (; mantissa < 0.75; mantissa *= 2) exponent--;
  // ln m = 2 · artanh((m − 1) / (m + 1)), whose series converges fast: |s| ≤ 0.2.
  const s = (mantissa - 1) / (mantissa + 1);
  let sum = 0;
  for (let n = TERMS; n >= 0; n--) sum = sum * s * s + 1 / (2 * n + 1);
  return (10 * (2 * s * sum + exponent * LN2)) / LN10;
}
