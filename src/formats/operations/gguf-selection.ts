/** Which tensors of a GGUF a request means to quantize. */
import {
  GGML_TYPE,
  type GgufTensor,
  TENSOR_TYPES,
} from "../containers/gguf-types.ts";
import { rowsOf } from "../blocks/rows.ts";
import { isNamed, type Selection } from "./selection.ts";

const FLOATS = new Map<number, "F32" | "F16" | "BF16">([
  [GGML_TYPE.F32, "F32"],
  [GGML_TYPE.F16, "F16"],
  [GGML_TYPE.BF16, "BF16"],
]);

/** Weights but those that llama.cpp adds or indexes where it wants floats, or its own quantizer leaves. */
const WEIGHTS: Selection = {
  include: ["*.weight"],
  exclude: [
    "*_norm.weight",
    "position_embd.weight",
    "token_types.weight",
    "*ffn_gate_inp.weight",
    "*ssm_conv1d.weight",
  ],
};

/** How the values of a tensor are read; undefined where they are not. */
export function ggufFloats({
  type,
}: GgufTensor): "F32" | "F16" | "BF16" | undefined {
  return FLOATS.get(type);
}

/** Whether a tensor becomes MXFP4: a matrix of floats in whole blocks, a weight unless it is included. */
export function isGgufChosen(
  tensor: GgufTensor,
  selection: Selection,
): boolean {
  return (
    isNamed(tensor.name, selection) &&
    whyLeft(tensor, selection.include) === undefined
  );
}

/** Why a tensor that the request names is left as it is; undefined where it is not. */
export function whyLeft(
  tensor: GgufTensor,
  include: readonly string[],
): string | undefined {
  const { name, dimensions, type } = tensor;
  if (ggufFloats(tensor) === undefined) {
    const [typeName, blockElements] = TENSOR_TYPES[type]!;
    if (blockElements > 1) return "quantized already";
    return typeName === "F64" ? "floats that are not read" : "not floats";
  }
  if (dimensions.length < 2) return "not a matrix";
  const { k, padded } = rowsOf(dimensions.toReversed(), 0);
  if (k !== padded || k === 0)
    return "rows that are not whole blocks of 32, which GGUF cannot pad";
  if (include.length === 0 && !isNamed(name, WEIGHTS))
    return "not a weight, or one that llama.cpp wants as floats";
  return undefined;
}
