/**
 * The loaders for which a directory can be made, and which tensors each loads in MXFP4. Others are kept, with a reason;
 * the directory still loads.
 */
import type { FormatName, Target } from "../api/scheme.ts";
import {
  layoutOf,
  packedHeads as partHeads,
} from "../formats/blocks/block-layouts.ts";
import { rowsOf } from "../formats/blocks/block-rows.ts";
import type { Dtype } from "../formats/dtype.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import { type RoleDecision, unpacked } from "../formats/roles/role.ts";
import { swapped, type TensorHead } from "../formats/tensor.ts";
import { floatLayers, isOfTower } from "./float-layers.ts";
import { withWholeExperts } from "./run-as-one.ts";

/** The block format that loaders support. */
export const LOADED_FORMAT = "mxfp4" satisfies FormatName;

/** Names and arrangement of a quantized weight's tensors. */
export type TargetLayout = "compressed-tensors" | "gpt-oss" | "mlx" | "quark";

/** What a tensor becomes for a target, and why. */
export type TargetDecision = RoleDecision & { layout?: TargetLayout };

/** gpt-oss' experts, which its loaders read stacked, under the names of its own layout. */
function isGptOssExperts(
  { name }: TensorHead,
  { kind }: RoleDecision,
  config: ModelConfig | undefined,
): boolean {
  return (
    config?.model_type === "gpt_oss" &&
    kind === "experts" &&
    /(^|\.)experts\.(gate_up|down)_proj$/.test(name)
  );
}

function isOfConv1d(
  { name }: TensorHead,
  config: ModelConfig | undefined,
): boolean {
  return (
    config?.model_type === "gpt2" &&
    /(^|\.)c_(attn|proj|fc)\.weight$/.test(name)
  );
}

/** Why the target cannot load a tensor that could be quantized; undefined if it can. */
function whyLeft(
  target: Target,
  head: TensorHead,
  decision: RoleDecision,
  config: ModelConfig | undefined,
): string | undefined {
  const { role, kind } = decision;
  if (target !== "quark" && isGptOssExperts(head, decision, config))
    return undefined;
  if (target === "transformers")
    return "transformers takes MXFP4 in the experts of gpt-oss alone";
  if (target !== "quark" && config?.model_type === "gpt_oss")
    return "what says that gpt-oss's experts are MXFP4 says it of nothing else";
  if (kind === "experts") return `${target} takes experts one by one`;
  if (!head.name.endsWith(".weight"))
    return `${target} has no packed form of a parameter of this name`;
  // GPT-2's loaders transpose everything called `weight`; compressed-tensors' name is `weight_packed`. Quantized
  // weights are transposed already.
  const isConv1d = role === "linear-in-out" || isOfConv1d(head, config);
  if (isConv1d && target !== "vllm")
    return `${target}'s loader turns the weights of a Conv1D itself`;
  return undefined;
}

const TOWER =
  "of an encoder of images or sound, which loaders run in floats; `--include` packs it";

function layoutFor(
  target: Target,
  head: TensorHead,
  decision: RoleDecision,
  config: ModelConfig | undefined,
): TargetLayout {
  if (isGptOssExperts(head, decision, config)) return "gpt-oss";
  return target === "mlx" || target === "quark" ? target : "compressed-tensors";
}

/**
 * What each tensor becomes in a directory for `target`. In a text model, image and audio encoders stay in floats unless
 * requested: loaders run many of them so.
 */
export function decideFor(
  target: Target,
  heads: readonly TensorHead<Dtype>[],
  decisions: readonly RoleDecision[],
  config: ModelConfig | undefined,
  areTowersAsked = false,
): TargetDecision[] {
  const names = heads.map(({ name }) => name);
  const whyFloats = floatLayers(target, names, config);
  const isPacked = names.map((_, i) => decisions[i]!.packed);
  const areTowersLeft =
    !areTowersAsked && names.some((name, i) => isPacked[i] && !isOfTower(name));
  const decided = heads.map((head, i): TargetDecision => {
    const decision = decisions[i]!;
    if (!decision.packed) return decision;
    const left =
      whyLeft(target, head, decision, config) ??
      whyFloats(head.name) ??
      (areTowersLeft && isOfTower(head.name) ? TOWER : undefined);
    if (left !== undefined) return unpacked(decision, left);
    return { ...decision, layout: layoutFor(target, head, decision, config) };
  });
  if (target !== "vllm" && target !== "quark") return decided;
  return withWholeExperts(heads, decided).map(({ layout, ...decision }) =>
    decision.packed && layout ? { ...decision, layout } : decision,
  );
}

/** The shape with the contracted axis last: [in, out] is transposed. */
export function turned(
  shape: readonly number[],
  { role }: RoleDecision,
): readonly number[] {
  return role === "linear-in-out" ? swapped(shape) : shape;
}

/** The tensors of a quantized weight. */
export function targetHeads(
  { name, shape }: TensorHead,
  decision: RoleDecision,
  layout: TargetLayout,
): TensorHead<Dtype>[] {
  const own = turned(shape, decision);
  const written = layoutOf("safetensors", LOADED_FORMAT, layout);
  const heads = partHeads(written, name, own, rowsOf(own, 0));
  return heads as TensorHead<Dtype>[];
}
