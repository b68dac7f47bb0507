/** A Range header of one range of bytes (RFC 9110 §14.2). */
import { AppError } from "../../api/errors.ts";

export type ByteRange = { offset: number; length: number };

/** The range of `size` bytes that the header asks for. Errors: `range_not_satisfiable` */
export function readRange(header: string, size: number): ByteRange {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header) ?? [];
  if (first === undefined || last === undefined || first + last === "") {
    throw notSatisfiable(
      "one range of bytes, as in `bytes=0-4095`",
      `"${header}"`,
    );
  }
  if (first === "") {
    const length = Math.min(Number(last), size);
    if (length === 0) throw notSatisfiable("at least 1 byte", `"${header}"`);
    return { offset: size - length, length };
  }
  const offset = Number(first);
  const end = last === "" ? size : Math.min(size, Number(last) + 1);
  if (offset >= end) {
    throw notSatisfiable(`a range within ${size} bytes`, `"${header}"`);
  }
  return { offset, length: end - offset };
}

function notSatisfiable(expected: string, got: string): AppError {
  return new AppError(
    "range_not_satisfiable",
    `Expected ${expected}, got ${got}`,
  );
}
