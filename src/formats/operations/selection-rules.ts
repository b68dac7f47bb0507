/** Which tensors of a file a request means to quantize or rotate, by the target that is written. */
import { AppError } from "../../api/errors.ts";
import { rowsOf } from "../blocks/block-rows.ts";
import type { Target, TensorFile } from "../containers/container.ts";
import {
  DTYPE_BITS,
  FLOAT_DTYPES,
  type FloatDtype,
  isFloat,
} from "../dtype.ts";
import type { TensorRange } from "../tensor.ts";
import { isNamed, type Selection } from "./name-patterns.ts";

/** Why a tensor that the request names is left as it is; undefined where it is not. */
type Rule = (
  tensor: TensorRange,
  include: readonly string[],
) => string | undefined;

const UNREAD_FLOATS = "floats that are not read";

const RULES: Record<Target["name"], Rule> = {
  safetensors({ dtype, shape }) {
    if (shape.length === 0) return "no dimension";
    if (isFloat(dtype)) return undefined;
    // Of 8 bits and fewer, and complex ones.
    return /^[FC]/.test(dtype) ? UNREAD_FLOATS : "not floats";
  },
  gguf({ name, dtype, shape }, include) {
    if (!Object.hasOwn(DTYPE_BITS, dtype)) return "quantized already";
    if (dtype === "F64") return UNREAD_FLOATS;
    if (!isFloat(dtype)) return "not floats";
    if (shape.length < 2) return "not a matrix";
    const { k, padded } = rowsOf(shape, 0);
    if (k !== padded || k === 0)
      return "rows that are not whole blocks of 32, which GGUF cannot pad";
    if (include.length === 0 && !isNamed(name, GGUF_WEIGHTS))
      return "not a weight, or one that llama.cpp wants as floats";
    return undefined;
  },
};

/** Weights but those that llama.cpp adds or indexes where it wants floats, or its own quantizer leaves. */
const GGUF_WEIGHTS: Selection = {
  include: ["*.weight"],
  exclude: [
    "*_norm.weight",
    "position_embd.weight",
    "token_types.weight",
    "*ffn_gate_inp.weight",
    "*ssm_conv1d.weight",
  ],
};

export function whyLeft(
  { target }: TensorFile,
  tensor: TensorRange,
  { include }: Selection,
): string | undefined {
  return RULES[target.name](tensor, include);
}

/**
 * Whether a tensor is one to work on: named, and not left as it is.
 * Errors: `unsupported_dtype` for floats of a safetensors file that cannot be read
 */
export function isChosen(
  file: TensorFile,
  tensor: TensorRange,
  selection: Selection,
): tensor is TensorRange<FloatDtype> {
  if (!isNamed(tensor.name, selection)) return false;
  const left = whyLeft(file, tensor, selection);
  if (left !== UNREAD_FLOATS || file.target.name === "gguf")
    return left === undefined;
  throw new AppError(
    "unsupported_dtype",
    `Expected float tensors of ${FLOAT_DTYPES.join(", ")} to work on, got tensor "${tensor.name}" of ${tensor.dtype}; \`exclude\` lets it pass through`,
  );
}
