import { AppError } from "../api/errors.ts";

/** A size that a kernel takes: a whole number from 1 that fits i32. */
export function checkCount(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1 || value >= 2 ** 31) {
    throw new AppError(
      "shape_mismatch",
      `Expected \`${name}\` to be a whole number from 1, got ${value}`,
    );
  }
}
