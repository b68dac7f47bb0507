/** Options in the query: each is known, given once, and one of its values. */
import type { Context } from "hono";
import { AppError } from "../api/errors.ts";

/** Refuses parameters that the route does not know, and those that came twice and may not. */
export function checkQuery(
  c: Context,
  known: readonly string[],
  repeatable: readonly string[] = [],
): void {
  for (const [name, values] of Object.entries(c.req.queries())) {
    if (repeatable.includes(name)) continue;
    if (!known.includes(name)) {
      const all = [...known, ...repeatable]
        .map((each) => `\`${each}\``)
        .join(", ");
      throw invalid(
        `Expected query parameters ${all || "none"}, got \`${name}\``,
      );
    }
    if (values.length > 1) {
      throw invalid(`Expected \`${name}\` once, got it ${values.length} times`);
    }
  }
}

/** One of `choices`, or `fallback` where the query does not say. */
export function choice<T extends string | number>(
  c: Context,
  name: string,
  choices: readonly T[],
  fallback: T,
): T {
  const value = c.req.query(name);
  if (value === undefined) return fallback;
  const chosen = choices.find((each) => `${each}` === value);
  if (chosen === undefined) {
    throw invalid(
      `Expected \`${name}\` to be one of ${choices.join(", ")}, got "${value}"`,
    );
  }
  return chosen;
}

/** A whole number from 0 to 2^53 − 1. */
export function wholeNumber(
  c: Context,
  name: string,
  fallback: number,
): number {
  const value = c.req.query(name);
  if (value === undefined) return fallback;
  const number = Number(value);
  if (!/^\d{1,16}$/.test(value) || !Number.isSafeInteger(number)) {
    throw invalid(
      `Expected \`${name}\` to be a whole number from 0 to 2^53 − 1, got "${value}"`,
    );
  }
  return number;
}

function invalid(message: string): AppError {
  return new AppError("invalid_option", message);
}
