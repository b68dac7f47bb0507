/** Means over seeds, and of paired differences, with standard errors. */

export type Estimate = {
  mean: number;
  /** Of the mean; NaN for a single value. */
  standardError: number;
  count: number;
};

/** A value per seed; null if the run diverged or is missing. */
export type BySeed = readonly (number | null)[];

export function estimate(values: readonly number[]): Estimate {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const variance = squares / (count - 1);
  return { mean, standardError: Math.sqrt(variance / count), count };
}

/** Over the seeds that have both values. */
export function pairedDifference(values: BySeed, from: BySeed): Estimate {
  return estimate(
    values.flatMap((value, seed) => {
      const other = from[seed] ?? null;
      return value === null || other === null ? [] : [value - other];
    }),
  );
}
