/** What a request makes of each tensor of a GGUF: MXFP4, Q8_0, or what it is. */
import type { GgufOutput } from "../../api/scheme.ts";
import {
  GGML_TYPE,
  type GgufTensor,
  TENSOR_TYPES,
} from "../containers/gguf-types.ts";
import { ggufRole, whyNotInBlocks } from "../roles/gguf-rules.ts";
import { isNamed, type Selection } from "./selection.ts";

const FLOATS = new Map<number, "F32" | "F16" | "BF16">([
  [GGML_TYPE.F32, "F32"],
  [GGML_TYPE.F16, "F16"],
  [GGML_TYPE.BF16, "BF16"],
]);

export type GgufTarget = {
  type: "mxfp4" | "q8_0" | "keep";
  /** In words. */
  reason: string;
};

/** How the values of a tensor are read; undefined where they are not. */
export function ggufFloats({
  type,
}: GgufTensor): "F32" | "F16" | "BF16" | undefined {
  return FLOATS.get(type);
}

/**
 * What becomes of a tensor. Those that `include` names become MXFP4 where llama.cpp computes with blocks
 * of them; by default its matrices do, and the vocabulary's become what `output` says.
 */
export function ggufTarget(
  tensor: GgufTensor,
  selection: Selection,
  output: GgufOutput,
): GgufTarget {
  const { name, dimensions, type } = tensor;
  const keep = (reason: string): GgufTarget => ({ type: "keep", reason });
  if (!isNamed(name, selection)) return keep("not asked for");
  if (ggufFloats(tensor) === undefined) {
    const [typeName, blockElements] = TENSOR_TYPES[type]!;
    if (blockElements > 1) return keep("quantized already");
    return keep(typeName === "F64" ? "floats that are not read" : "not floats");
  }
  const { kind, reason } = ggufRole(name, dimensions);
  if (kind === "floats")
    return keep(`${reason}, which llama.cpp wants as floats`);
  const ragged = whyNotInBlocks(dimensions);
  if (ragged !== undefined) return keep(ragged);
  if (kind === "matrix" || selection.include.length > 0)
    return { type: "mxfp4", reason };
  if (kind === "left")
    return keep(`${reason}, left as by llama.cpp's own quantizer`);
  return { type: output, reason };
}
