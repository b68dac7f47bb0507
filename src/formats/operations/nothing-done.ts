/** Errors for operations that would do nothing: they tell what was found, or what may have been meant. */
import { AppError } from "../../api/errors.ts";
import { quoted } from "../containers/malformed.ts";
import type { TensorHead } from "../tensor.ts";
import { closestNames } from "./closest-names.ts";
import { matches, type Selection } from "./name-patterns.ts";

/** The most names and reasons in a message. */
const MOST = 3;

/** Errors: `invalid_option` for a pattern that matches no tensor */
export function checkPatternsMatch(
  heads: readonly Pick<TensorHead, "name">[],
  { include, exclude }: Selection,
): void {
  const names = heads.map(({ name }) => name);
  checkMatches("include", include, names);
  checkMatches("exclude", exclude, names);
}

/** Errors: `invalid_option` for a pattern that matches none of `names` */
export function checkMatches(
  option: string,
  patterns: readonly string[],
  names: readonly string[],
): void {
  const idle = patterns.find(
    (pattern) => !names.some((name) => matches(pattern, name)),
  );
  if (idle === undefined) return;
  const closest = closestNames(idle, names);
  const told = closest.length > 0 ? closest : names.slice(0, MOST);
  const list = told.map(quoted).join(", ");
  const hint =
    closest.length > 0
      ? `the closest names are ${list}`
      : list === ""
        ? "the file has no tensors"
        : `the file has ${list}${others(names.length)}`;
  throw new AppError(
    "invalid_option",
    `Expected \`${option}\` to match a tensor of the file, got ${quoted(idle)}, which matches none; ${hint}`,
  );
}

/** Returns why a tensor stays unchanged, worded to follow its name. */
type ReasonOf = (tensor: TensorHead, index: number) => string;

/** The error for a file without any tensor for an operation. */
export function nothingTo(
  verb: string,
  tensors: readonly TensorHead[],
  reasonOf: ReasonOf,
  remedy = "",
): AppError {
  const found = foundInstead(tensors, reasonOf);
  return new AppError(
    "nothing_to_convert",
    `Expected tensors to ${verb}, got ${found}${remedy}`,
  );
}

/** Describes the tensors found instead, grouped by why they stay unchanged. */
export function foundInstead(
  tensors: readonly TensorHead[],
  reasonOf: ReasonOf,
): string {
  const byReason = new Map<string, string[]>();
  for (const [i, tensor] of tensors.entries()) {
    const reason = `${tensor.dtype}, ${reasonOf(tensor, i)}`;
    byReason.set(reason, [...(byReason.get(reason) ?? []), tensor.name]);
  }
  const groups = [...byReason]
    .toSorted(([, a], [, b]) => b.length - a.length)
    .slice(0, MOST)
    .map(([reason, [first, ...rest]]) => {
      const more = rest.length > 0 ? ` and ${rest.length} like it` : "";
      return `${quoted(first!)}${more} (${reason})`;
    });
  if (byReason.size > MOST) groups.push("others");
  return groups.length > 0
    ? `none but ${groups.join(", ")}`
    : "a file without any";
}

function others(count: number): string {
  return count > MOST ? ` and ${count - MOST} others` : "";
}
