/** Selects names that match an `include` pattern (all, if there is none) and no `exclude` pattern. */
import type { SELECTION_OPTIONS } from "../../api/options.ts";
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

/** Whether `pattern` matches the whole name: `*` stands for any characters, `?` for one. */
export function matches(pattern: string, name: string): boolean {
  // Backtracking only to the last star is sufficient, needs no memory, and is never exponential, unlike regular
  // expressions.
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
