/** Parses numeric options. */
import { UsageError } from "./file-arguments.ts";

/** From `least` on, to `most` where there is one. */
export function wholeNumber(
  name: string,
  typed: unknown,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): number {
  const text = String(typed);
  const value = Number(text);
  if (!/^\d+$/.test(text) || !(value >= least && value <= most)) {
    const limit = most === Number.MAX_SAFE_INTEGER ? "" : ` to ${most}`;
    throw new UsageError(
      `Expected --${name} to be a whole number from ${least}${limit}, got "${text}"`,
    );
  }
  return value;
}

export function finite(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!text.trim() || !Number.isFinite(value) || value < least) {
    throw new UsageError(
      `Expected --${name} to be a number from ${least}, got "${text}"`,
    );
  }
  return value;
}

export function positive(name: string, text: string): number {
  const value = Number(text);
  if (!text.trim() || !Number.isFinite(value) || value <= 0) {
    throw new UsageError(
      `Expected --${name} to be a number above 0, got "${text}"`,
    );
  }
  return value;
}

/** A whole number, if given. */
export function optionalCount(
  name: string,
  text: unknown,
  least = 1,
): number | undefined {
  return text === undefined ? undefined : wholeNumber(name, text, least);
}

/** A whole number, or `fallback` if not given. */
export function count(
  name: string,
  text: string | undefined,
  fallback: number | undefined,
  least = 1,
  most?: number,
): number {
  if (text === undefined && fallback !== undefined) return fallback;
  return wholeNumber(name, text ?? "", least, most);
}
