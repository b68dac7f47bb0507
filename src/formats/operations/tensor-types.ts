/** Types of a GGUF's tensors, given by name with the option `tensorType`. */
import type { GgufType } from "../../api/scheme.ts";
import { AppError } from "../../api/errors.ts";
import { type StoredType, isFloat } from "../dtype.ts";
import { quoted } from "../containers/malformed.ts";
import {
  type GgufRole,
  ggufRole,
  whyNotInBlocks,
} from "../roles/gguf-rules.ts";
import type { TensorHead } from "../tensor.ts";
import { matches } from "./name-patterns.ts";
import { checkMatches } from "./nothing-done.ts";

/** `pattern=type`. */
export type TypeRule = { text: string; pattern: string; type: GgufType };

export function typeRules(texts: readonly string[]): TypeRule[] {
  return texts.map((text) => {
    const at = text.lastIndexOf("=");
    const type = text.slice(at + 1) as GgufType;
    return { text, pattern: text.slice(0, at), type };
  });
}

/** ggml's names of the types. */
export const STORED_TYPES = {
  mxfp4: "MXFP4",
  q8_0: "Q8_0",
  f16: "F16",
  bf16: "BF16",
  f32: "F32",
} as const satisfies Record<Exclude<GgufType, "keep">, StoredType>;

/** The type given for a tensor of these names, if it can have it; may be `keep`. */
export function toldType(
  rules: readonly TypeRule[],
  names: readonly string[],
  head: TensorHead,
): GgufType | undefined {
  return rules.findLast(
    ({ pattern, type }) =>
      names.some((name) => matches(pattern, name)) &&
      whyNotOf(type, head) === undefined,
  )?.type;
}

/** Why a tensor cannot have a type in a GGUF that llama.cpp loads; undefined if it can. */
function whyNotOf(
  type: GgufType,
  { name, dtype, shape }: TensorHead,
): string | undefined {
  if (type === "keep") return undefined;
  if (!isFloat(dtype)) return "not floats";
  if (dtype === "F64") return "of F64, which is not read";
  const dimensions = shape.toReversed();
  const role: GgufRole = ggufRole(name, dimensions);
  if (role.kind === "floats" && type !== "f32")
    return `${role.reason}, which llama.cpp wants as F32`;
  return type === "mxfp4" || type === "q8_0"
    ? whyNotInBlocks(dimensions)
    : undefined;
}

/** Errors: `invalid_option` for a pattern that matches no tensor, or only tensors that cannot have its type */
export function checkTypes(
  rules: readonly TypeRule[],
  heads: readonly TensorHead[],
  namesOf: (head: TensorHead, index: number) => readonly string[],
): void {
  const names = heads.map(namesOf);
  for (const { text, pattern, type } of rules) {
    checkMatches("tensorType", [pattern], names.flat());
    const matched = heads.filter((_, i) =>
      names[i]!.some((name) => matches(pattern, name)),
    );
    const reasons = matched.map((head) => whyNotOf(type, head));
    if (reasons.includes(undefined)) continue;
    throw new AppError(
      "invalid_option",
      `Expected \`tensorType\` to name a tensor that can be of its type, got ${quoted(text)}, which names ${quoted(matched[0]!.name)}: ${reasons[0]!}`,
    );
  }
}
