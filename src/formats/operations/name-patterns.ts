/** Names that match an `include` pattern, or all, and no `exclude`. */
import type { SELECTION_OPTIONS } from "../../api/options.ts";
import { AppError } from "../../api/errors.ts";
import { compareNames } from "../tensor.ts";
import type { AllOf } from "../../api/option-kinds.ts";

export type Selection = AllOf<typeof SELECTION_OPTIONS>;

export function isNamed(
  name: string,
  { include, exclude }: Selection,
): boolean {
  const included =
    include.length === 0 || include.some((pattern) => matches(pattern, name));
  return included && !exclude.some((pattern) => matches(pattern, name));
}

/** Errors: `invalid_option` for a pattern that none of `names` matches, with those that are closest to it */
export function checkMatched(
  { include, exclude }: Selection,
  names: readonly string[],
): void {
  const lost = [...include, ...exclude].find(
    (pattern) => !names.some((name) => matches(pattern, name)),
  );
  if (lost === undefined) return;
  const closest = names
    .map((name) => ({ name, edits: edits(lost, name) }))
    .sort((a, b) => a.edits - b.edits || compareNames(a.name, b.name))
    .slice(0, CLOSEST)
    .map(({ name }) => name);
  throw new AppError(
    "invalid_option",
    `Expected a tensor for the pattern "${lost}", got none; closest are ${closest.join(", ")}`,
  );
}

const CLOSEST = 3;

/** The least characters to put in, take out or replace, where `*` stands for any. */
function edits(pattern: string, name: string): number {
  let row = Array.from({ length: name.length + 1 }, (_, i) => i);
  for (const letter of pattern) {
    const any = letter === "*";
    const next = [row[0]! + (any ? 0 : 1)];
    for (let i = 1; i <= name.length; i++) {
      const same = any || letter === "?" || letter === name[i - 1];
      next.push(
        Math.min(
          row[i - 1]! + (same ? 0 : 1),
          row[i]! + (any ? 0 : 1),
          next[i - 1]! + (any ? 0 : 1),
        ),
      );
    }
    row = next;
  }
  return row[name.length]!;
}

/** Whether `pattern` is all of `name`: `*` stands for any characters, `?` for one. */
function matches(pattern: string, name: string): boolean {
  // Only the last star is ever tried again, which finds a match if there is one, in linear memory
  // and without a regular expression's exponential cases.
  let [p, n, star, retry] = [0, 0, -1, 0];
  while (n < name.length) {
    if (pattern[p] === "*") {
      star = p++;
      retry = n;
    } else if (pattern[p] === "?" || pattern[p] === name[n]) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++retry;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}
