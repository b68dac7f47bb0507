import { expect } from "vitest";

/**
 * Every value within its tolerance of the wanted one. NaN wants NaN and an infinity the same infinity.
 * A failure shows the first five that differ.
 */
export function expectClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: number | ArrayLike<number>,
): void {
  const differing: string[] = [];
  for (let i = 0; i < want.length; i++) {
    const allowed = typeof tolerance === "number" ? tolerance : tolerance[i];
    if (!isClose(got[i], want[i], allowed)) {
      differing.push(
        `[${i}]: expected ${want[i]} within ${allowed}, got ${got[i]}`,
      );
    }
  }
  expect(differing.slice(0, 5)).toEqual([]);
  expect(got.length).toBe(want.length);
}

function isClose(got: number, want: number, tolerance: number): boolean {
  if (Number.isNaN(want)) return Number.isNaN(got);
  if (!Number.isFinite(want)) return got === want;
  return Math.abs(got - want) <= tolerance;
}

/** The spacing of f32 numbers at `value`: one unit in the last place. */
export function ulp(value: number): number {
  const magnitude = Math.max(Math.abs(value), 2 ** -126);
  return 2 ** (Math.floor(Math.log2(magnitude)) - 23);
}

/** Half the spacing of f32 numbers at 1: the relative error of one rounding. */
export const F32_EPSILON = 2 ** -24;
