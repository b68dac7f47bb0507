/**
 * Experts stacked in one tensor: [E, out, in] or [E, in, out], or as a matrix, [E · out, in] or [E · in, out]. Names
 * do not tell which: the bias does, or the sizes of the expert's other layer, which shares the hidden width.
 */
import type { TensorHead } from "../tensor.ts";
import { type ExpertLayer, expertLayer } from "./expert-layers.ts";
import { type ModelConfig, widthsOf } from "./model-config.ts";
import type { Role } from "./role.ts";
import type { Surroundings } from "./surroundings.ts";
import { type TensorName, partWords } from "./tensor-name.ts";

type Oriented = Exclude<Role, "keep">;
type Matrix = readonly [rows: number, columns: number];

/** Layers that some models stack outside `experts`: `mlp.gate_up_proj`, `moe.w1`. */
const STACKED =
  /^(shared_)?(gate_up_proj|gate_and_up_proj|up_gate_proj|gate_proj|up_proj|down_proj|w1|w2|w3|w13|fc1|fc2|wi|wi_0|wi_1|wo|(input|output)_linear|linear_fc[12]|linear_[12])$/;

/** Whether a tensor contains several experts. */
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
  // In `moe_conv.up` the first axis is a convolution kernel's, not the experts'; `conv_layers.3.moe.up` has no
  // kernel.
  if (parts.slice(isOfExperts ? experts : -2).some(convolves)) return false;
  // A 2-D parameter not called `weight`: a `weight` is one layer's, and a gate is a router.
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

/** Which axis of a stack is contracted; `linear` (most common) if nothing tells. */
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
  // Both orders fit: the model's width decides.
  const widths = widthsOf(config);
  if (widths.has(rows) !== widths.has(columns))
    return layer.isInto === widths.has(columns) ? "linear" : "linear-in-out";
  // If both layers have the same stored shape, one is transposed: the second, since the first is as in torch.
  const isAlike = partner?.[0] === rows && partner[1] === columns;
  return isAlike && rows !== columns && !layer.isInto
    ? "linear-in-out"
    : "linear";
}

function matrixOf(shape: readonly number[]): Matrix {
  return [shape.at(-2)!, shape.at(-1)!];
}

/** The shape of the expert's other layer. */
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

/** Fused gate and up make the first layer's output twice as wide as the second's input. */
function byMeeting([a, b]: Matrix, [c, d]: Matrix): Oriented | undefined {
  for (const gates of [2, 1]) {
    const outIn = b === c && a === gates * d;
    const inOut = a === d && b === gates * c;
    if (outIn !== inOut) return outIn ? "linear" : "linear-in-out";
    if (outIn) return undefined;
  }
  return undefined;
}
