/** What is drawn of a series: its trend, what stands out, and its extremes where points are too many. Nothing here sees pixels but `extremes`. */

/** A value a step; null where there is none. */
export type Values = readonly (number | null)[];

/**
 * The exponential mean at each value, over all of them: half of its weight lies in the last `halfLife`
 * values. It is corrected for its start, and made before any value is left out, so how many are drawn
 * changes nothing. 0 leaves values as they are.
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
/** In median deviations, scaled so that one is a standard deviation of normal values. */
const FAR = 6;

/** Which values lie far from the median of those before them, 32 at most; none without 8 before. */
export function outliers(values: Values): boolean[] {
  const before: number[] = [];
  // The same in order: of a long run each value is one of a hundred thousand.
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

/** The median of `length` values, of which `at` gives each by its place in order. */
function middleOf(length: number, at: (place: number) => number): number {
  if (length === 0) return 0;
  const middle = length >> 1;
  return length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
}

/** The median of how far values, which are in order, lie from `center`. */
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
 * At most `points` points of a line within [from, to]: stretches of equal numbers of values, each by its least and its
 * most, and by the place and the trend of its last value. Of few values each is one.
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
  // Stretches begin at multiples of their length, so that they stay the same as values come.
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
    // Where clocks went back, many values have one place, which a plot has once.
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
