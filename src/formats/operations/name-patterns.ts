/** Names that match an `include` pattern, or all, and no `exclude`. */
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

/** Whether `pattern` is all of `name`: `*` stands for any characters, `?` for one. */
export function matches(pattern: string, name: string): boolean {
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
