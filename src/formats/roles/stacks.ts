/**
 * Experts that lie in one tensor: [E, out, in] or [E, in, out], or as rows of a matrix, [E · out, in] or
 * [E · in, out]. No name tells which: the bias does, or the sizes of the layer before and the one behind,
 * which meet in the experts' width.
 */
import type { TensorHead } from "../tensor.ts";
import { type ExpertLayer, expertLayer } from "./expert-layers.ts";
import { type ModelConfig, widthsOf } from "./model-config.ts";
import type { Role } from "./role.ts";
import type { Surroundings } from "./surroundings.ts";
import { type TensorName, partWords } from "./tensor-name.ts";

type Oriented = Exclude<Role, "keep">;
type Matrix = readonly [rows: number, columns: number];

/** Layers that some models stack outside of experts: `mlp.gate_up_proj`, `moe.w1`. */
const STACKED =
  /^(shared_)?(gate_up_proj|gate_and_up_proj|up_gate_proj|gate_proj|up_proj|down_proj|w1|w2|w3|w13|fc1|fc2|wi|wi_0|wi_1|wo|(input|output)_linear|linear_fc[12]|linear_[12])$/;

/** Whether a tensor is of experts, several in one. */
export function isStack(
  fullName: string,
  name: TensorName,
  shape: readonly number[],
): boolean {
  const { leaf, module, path } = name;
  if (expertLayer(fullName, name) === undefined) return false;
  const parts = [...path, module];
  const experts = parts.findIndex(ofExperts);
  const isOfExperts = experts >= 0;
  // `moe_conv.up` has an axis of its kernel, where a stack has one of experts; `conv_layers.3.moe.up` has no kernel.
  if (parts.slice(isOfExperts ? experts : -2).some(convolves)) return false;
  // A parameter of its own, of two dimensions: a module's `weight` is one layer, and a gate chooses.
  if (shape.length === 2)
    return isOfExperts && !/^(weight|gate(_weight)?)$/.test(leaf);
  if (shape.length !== 3) return false;
  return isOfExperts || (leaf === "weight" && STACKED.test(module));
}

function ofExperts(part: string): boolean {
  return partWords(part).some((word) => /^(experts?|moe)$/.test(word));
}

function convolves(part: string): boolean {
  return partWords(part).some((word) =>
    /^conv(s|olutions?)?(\dd)?$/.test(word),
  );
}

/** Which axis of a stack is contracted; `linear` where nothing tells, as most checkpoints have it. */
export function stackRole(
  { name: fullName, shape }: TensorHead,
  name: TensorName,
  around: Surroundings,
  config: ModelConfig | undefined,
): Oriented {
  const own = matrixOf(shape);
  const [rows, columns] = own;
  const bias = around.biasOf(name);
  if (bias !== undefined && rows !== columns) {
    if (bias === columns) return "linear-in-out";
    if (bias === rows) return "linear";
  }
  const layer = expertLayer(fullName, name)!;
  const partner = partnerOf(layer, shape.length, around);
  if (partner !== undefined) {
    const [into, outOf] = layer.isInto ? [own, partner] : [partner, own];
    const found = byMeeting(into, outOf);
    if (found !== undefined) return found;
  }
  // Both orders fit: an expert of the same shapes both ways round. The model's width tells.
  const widths = widthsOf(config);
  if (widths.has(rows) !== widths.has(columns))
    return layer.isInto === widths.has(columns) ? "linear" : "linear-in-out";
  // One of two that are stored alike is turned: the second, since the first is as torch has it.
  const isAlike = partner?.[0] === rows && partner[1] === columns;
  return isAlike && rows !== columns && !layer.isInto
    ? "linear-in-out"
    : "linear";
}

function matrixOf(shape: readonly number[]): Matrix {
  return [shape.at(-2)!, shape.at(-1)!];
}

/** The shape of the layer that the experts' width leads to, or comes from. */
function partnerOf(
  { partners, withStem }: ExpertLayer,
  rank: number,
  around: Surroundings,
): Matrix | undefined {
  for (const partner of partners) {
    const shape = around.shapeOf(withStem(partner));
    if (shape?.length === rank) return matrixOf(shape);
  }
  return undefined;
}

/** Gate and up in one make the first layer twice as wide as what the second takes. */
function byMeeting([a, b]: Matrix, [c, d]: Matrix): Oriented | undefined {
  for (const gates of [2, 1]) {
    const outIn = b === c && a === gates * d;
    const inOut = a === d && b === gates * c;
    if (outIn !== inOut) return outIn ? "linear" : "linear-in-out";
    if (outIn) return undefined;
  }
  return undefined;
}
