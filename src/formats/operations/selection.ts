/** Which tensors a request means: names that match an `include` pattern, or all, and no `exclude`. */
import { AppError } from "../../api/errors.ts";
import {
  type Dtype,
  FLOAT_DTYPES,
  type FloatDtype,
  isFloat,
} from "../dtype.ts";
import type { TensorHead } from "../tensor.ts";

export type Selection = {
  include: readonly string[];
  exclude: readonly string[];
};

export function isNamed(
  name: string,
  { include, exclude }: Selection,
): boolean {
  const included =
    include.length === 0 || include.some((pattern) => matches(pattern, name));
  return included && !exclude.some((pattern) => matches(pattern, name));
}

/** Why a tensor that the request names is not one to work on; undefined where it is. */
export function whyUnchosen({ dtype, shape }: TensorHead): string | undefined {
  if (shape.length === 0) return "no dimension";
  if (isFloat(dtype)) return undefined;
  return isUnreadFloat(dtype) ? "floats that are not read" : "not floats";
}

/**
 * Whether a tensor is one to quantize or rotate: named, of at least one dimension, and of floats.
 * Errors: `unsupported_dtype` for floats that cannot be read
 */
export function isChosen<T extends TensorHead>(
  tensor: T,
  selection: Selection,
): tensor is T & { dtype: FloatDtype } {
  const { name, dtype, shape } = tensor;
  if (!isNamed(name, selection) || shape.length === 0) return false;
  if (isFloat(dtype)) return true;
  if (!isUnreadFloat(dtype)) return false;
  throw new AppError(
    "unsupported_dtype",
    `Expected float tensors of ${FLOAT_DTYPES.join(", ")} to work on, got tensor "${name}" of ${dtype}; \`exclude\` lets it pass through`,
  );
}

/** Floats of 8 bits and fewer, and complex ones. */
function isUnreadFloat(dtype: Dtype): boolean {
  return !isFloat(dtype) && /^[FC]/.test(dtype);
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
