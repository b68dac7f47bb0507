/** Names of an expert's two layers: gate and up (fused or separate), and down. */
import type { TensorName } from "./tensor-name.ts";

/** Name stems of the layers into the expert's hidden width, and of the layer out of it. */
const PAIRS: readonly (readonly [into: string, outOf: string])[] = [
  ["gate_up|gate_and_up|up_gate|gate|up", "down"],
  ["w1|w3|w13|v1", "w2"],
  ["fc1", "fc2"],
  ["linear_1", "linear_2"],
  ["wi|wi_0|wi_1|wi_gate|wi_up", "wo"],
  ["input", "output"],
  ["in", "out"],
  ["c_fc", "c_proj"],
  ["h_to_4h", "4h_to_h"],
  ["htoh4", "h4toh"],
];

const BEFORE = "(?:shared_|batched_|w_|linear_|dense_)?";
const BEHIND = "(?:_proj|_linear|_w|_weight)?";

export type ExpertLayer = {
  isInto: boolean;
  /** The layer's full name with another stem. */
  withStem: (stem: string) => string;
  /** Possible stems of its partner. */
  partners: readonly string[];
};

const STEMS = PAIRS.flatMap(([into, outOf]) => {
  const intos = into.split("|");
  return [
    ...intos.map((stem) => ({ stem, isInto: true, partners: [outOf] })),
    { stem: outOf, isInto: false, partners: intos },
  ];
}).map((each) => ({
  ...each,
  pattern: new RegExp(`^(${BEFORE})${each.stem}(${BEHIND})$`),
}));

/** For example `experts.gate_up_proj`, `experts.w13_weight`, `moe.up_proj.weight`; undefined if it is no such layer. */
export function expertLayer(
  fullName: string,
  { leaf, module }: TensorName,
): ExpertLayer | undefined {
  const own = leaf === "weight" ? module : leaf;
  for (const { pattern, isInto, partners } of STEMS) {
    const [, before, behind] = pattern.exec(own) ?? [];
    if (before === undefined) continue;
    const at = fullName.lastIndexOf(own);
    const rest = fullName.slice(at + own.length);
    const withStem = (stem: string) =>
      fullName.slice(0, at) + before + stem + behind + rest;
    return { isInto, withStem, partners };
  }
  return undefined;
}
