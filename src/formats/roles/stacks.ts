/**
 * Experts that lie in one tensor, [E, out, in] or [E, in, out]. No name tells which: the bias does, or
 * the sizes of the layer before and the one behind, which meet in the experts' width.
 */
import type { TensorHead } from "../tensor.ts";
import { type ModelConfig, widthsOf } from "./model-config.ts";
import type { Role } from "./role.ts";
import type { Surroundings } from "./surroundings.ts";
import { type TensorName, partWords } from "./tensor-name.ts";

type Oriented = Exclude<Role, "keep">;

/** The layer into the experts' width, gate and up in one or apart, and the one out of it. */
const INTO =
  /^(gate_up_proj|gate_and_up_proj|up_gate_proj|gate_proj|up_proj|w1|w3|w13|fc1|wi|wi_0|wi_1|input_linear|linear_fc1|linear_1)$/;
const OUT_OF = /^(down_proj|w2|fc2|wo|output_linear|linear_fc2|linear_2)$/;

/** `experts.gate_up_proj`, `experts.w13_weight`, `moe.up_proj.weight`: what the layer is called. */
function layerOf({ leaf, module }: TensorName): string {
  const own = leaf === "weight" ? module : leaf.replace(/_weight$/, "");
  return own.replace(/^shared_/, "");
}

/** Whether a tensor of three dimensions, or of experts, stacks linear layers. */
export function isStack(name: TensorName, shape: readonly number[]): boolean {
  if (shape.length !== 3) return false;
  const layer = layerOf(name);
  if (!INTO.test(layer) && !OUT_OF.test(layer)) return false;
  return (
    name.leaf === "weight" || name.path.concat(name.module).some(ofExperts)
  );
}

function ofExperts(part: string): boolean {
  return partWords(part).some((word) => /^(experts?|moe)$/.test(word));
}

/** Which axis of a stack is contracted; `linear` where nothing tells, as most checkpoints have it. */
export function stackRole(
  { name: fullName, shape }: TensorHead,
  name: TensorName,
  around: Surroundings,
  config: ModelConfig | undefined,
): Oriented {
  const [, rows, columns] = shape as [number, number, number];
  const bias = around.biasOf(name);
  if (bias !== undefined && rows !== columns) {
    if (bias === columns) return "linear-in-out";
    if (bias === rows) return "linear";
  }
  const partner = partnerOf(fullName, name, around);
  if (partner !== undefined) {
    const isInto = INTO.test(layerOf(name));
    const [into, outOf] = isInto ? [shape, partner] : [partner, shape];
    const found = byMeeting(into, outOf);
    if (found !== undefined) return found;
  }
  // Both orders fit: an expert of the same shapes both ways round. The model's width tells.
  const widths = widthsOf(config);
  if (widths.has(rows) !== widths.has(columns)) {
    return INTO.test(layerOf(name)) === widths.has(columns)
      ? "linear"
      : "linear-in-out";
  }
  return "linear";
}

/** The shape of the layer that the experts' width leads to, or comes from. */
function partnerOf(
  fullName: string,
  name: TensorName,
  around: Surroundings,
): readonly number[] | undefined {
  const layer = layerOf(name);
  const partners = INTO.test(layer)
    ? [
        "down_proj",
        "w2",
        "fc2",
        "wo",
        "output_linear",
        "linear_fc2",
        "linear_2",
      ]
    : [
        "gate_up_proj",
        "up_proj",
        "w13",
        "w1",
        "fc1",
        "wi",
        "input_linear",
        "linear_fc1",
        "linear_1",
      ];
  const at = fullName.lastIndexOf(layer);
  for (const partner of partners) {
    const shape = around.shapeOf(
      fullName.slice(0, at) + partner + fullName.slice(at + layer.length),
    );
    if (shape?.length === 3) return shape;
  }
  return undefined;
}

/** Gate and up in one make the first layer twice as wide as what the second takes. */
function byMeeting(
  [, a, b]: readonly number[],
  [, c, d]: readonly number[],
): Oriented | undefined {
  for (const gates of [2, 1]) {
    const outIn = b === c && a === gates * d!;
    const inOut = a === d && b === gates * c!;
    if (outIn !== inOut) return outIn ? "linear" : "linear-in-out";
    if (outIn) return undefined;
  }
  return undefined;
}
