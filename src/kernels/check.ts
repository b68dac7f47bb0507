import { AppError } from "../api/errors.ts";
import type { Pointer } from "./arena.ts";

/** A size that a kernel takes: a whole number from 1 that fits i32. */
export function checkCount(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1 || value >= 2 ** 31) {
    throw new AppError(
      "shape_mismatch",
      `Expected \`${name}\` to be a whole number from 1, got ${value}`,
    );
  }
}

/** A size that comes in whole units. */
export function checkMultiple(name: string, value: number, of: number): void {
  if (!Number.isSafeInteger(value) || value < 0 || value % of !== 0) {
    throw new AppError(
      "shape_mismatch",
      `Expected \`${name}\` to be a multiple of ${of}, got ${value}`,
    );
  }
}

/** How far apart an operand's elements lie: adjacent along its rows, or along k. */
export function checkStrides(rowStride: number, kStride: number): void {
  if (rowStride !== 1 && kStride !== 1) {
    throw new RangeError(
      `Expected one stride to be 1, got rows ${rowStride} and k ${kStride} apart`,
    );
  }
}

/** An address that a kernel loads vectors from. */
export function checkAligned(name: string, pointer: Pointer): void {
  if (pointer % 16 !== 0) {
    throw new RangeError(
      `Expected \`${name}\` to be 16-byte aligned, got address ${pointer}`,
    );
  }
}
