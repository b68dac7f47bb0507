/** Trend, outliers and downsampling of a series. Only `extremes` depends on the number of pixels. */

/** A value per step; null if missing. */
export type Values = readonly (number | null)[];

/**
 * Exponential moving average with the given half-life in values, bias-corrected. Computed on all values before
 * downsampling, so it does not depend on the chart's size. 0 returns the values.
 */
export function smoothed(values: Values, halfLife: number): (number | null)[] {
  if (halfLife <= 0) return [...values];
  const keep = 0.5 ** (1 / halfLife);
  let [mean, weight] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    mean = keep * mean + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    return mean / weight;
  });
}

const WINDOW = 32;
/** Threshold in median absolute deviations, scaled by 1.4826 to standard deviations of normal values. */
const FAR = 6;

/** Marks values far from the median of up to 32 preceding ones; none with fewer than 8 of them. */
export function outliers(values: Values): boolean[] {
  const before: number[] = [];
  // The same values sorted, since a long run has a hundred thousand.
  const sorted: number[] = [];
  return values.map((value) => {
    if (value === null) return false;
    const middle = middleOf(sorted.length, (i) => sorted[i]!);
    const deviation = 1.4826 * medianDistance(sorted, middle);
    const isFar =
      before.length >= 8 &&
      Math.abs(value - middle) > FAR * Math.max(deviation, 1e-12);
    before.push(value);
    sorted.splice(lowerBound(sorted, value), 0, value);
    if (before.length > WINDOW)
      sorted.splice(lowerBound(sorted, before.shift()!), 1);
    return isFar;
  });
}

/** The median of `length` values; `at` returns the value of a rank. */
function middleOf(length: number, at: (place: number) => number): number {
  if (length === 0) return 0;
  const middle = length >> 1;
  return length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
}

/** The median distance of sorted values from `center`. */
function medianDistance(sorted: readonly number[], center: number): number {
  const distances: number[] = [];
  let right = lowerBound(sorted, center);
  let left = right - 1;
  while (distances.length <= sorted.length >> 1) {
    const below = left < 0 ? Infinity : center - sorted[left]!;
    const above = right === sorted.length ? Infinity : sorted[right]! - center;
    if (below < above) left--;
    else right++;
    distances.push(Math.min(below, above));
  }
  return middleOf(sorted.length, (i) => distances[i]!);
}

export type Drawn = {
  x: number[];
  least: (number | null)[];
  most: (number | null)[];
  trend: (number | null)[];
};

/**
 * Downsamples the part of a line within [from, to] to about `points` points: each covers equally many values by their
 * minimum and maximum, and the position and trend of the last one. Few values are kept.
 */
export function extremes(
  x: readonly number[],
  values: Values,
  trend: Values,
  [from, to]: readonly [number, number],
  points: number,
): Drawn {
  const first = Math.max(0, lowerBound(x, from) - 1);
  const end = Math.min(x.length, lowerBound(x, to) + 2);
  const stride = Math.max(1, Math.ceil((end - first) / points));
  const drawn: Drawn = { x: [], least: [], most: [], trend: [] };
  // Ranges start at multiples of their length, so that they do not shift when values are added.
  for (let at = first - (first % stride); at < end; at += stride) {
    let [least, most]: (number | null)[] = [null, null];
    let last = -1;
    for (let i = at; i < Math.min(at + stride, x.length); i++) {
      const value = values[i] ?? null;
      if (value === null) continue;
      least = Math.min(least ?? value, value);
      most = Math.max(most ?? value, value);
      last = i;
    }
    if (last < 0) continue;
    // If a clock went backwards, several values share a position, which a plot allows only once.
    if (drawn.x.at(-1) === x[last]) {
      drawn.x.pop();
      drawn.trend.pop();
      least = Math.min(least!, drawn.least.pop()!);
      most = Math.max(most!, drawn.most.pop()!);
    }
    drawn.x.push(x[last]!);
    drawn.least.push(least);
    drawn.most.push(most);
    drawn.trend.push(trend[last] ?? null);
  }
  return drawn;
}

/** The first index whose x is at least `value`. */
function lowerBound(x: readonly number[], value: number): number {
  let [low, high] = [0, x.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
