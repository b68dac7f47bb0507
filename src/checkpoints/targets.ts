/**
 * The loaders that a directory can be made for, and which of its tensors each takes in MXFP4. What a
 * loader cannot take packed stays as it is, with the reason; it still loads.
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

/** What loaders take of a model's weights. */
export const LOADED_FORMAT = "mxfp4" satisfies FormatName;

/** How the tensors of a packed weight are named and arranged. */
export type TargetLayout = "compressed-tensors" | "gpt-oss" | "mlx" | "quark";

/** A decision for a target: what becomes of the tensor there, and why. */
export type TargetDecision = RoleDecision & { layout?: TargetLayout };

/** gpt-oss's experts, which its loaders take stacked, under the names of its own layout. */
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

/** Why the target leaves a tensor that could be packed; undefined where it takes it. */
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
  // GPT-2's loaders turn whatever is called `weight`; compressed-tensors calls it `weight_packed`. Blocks are turned already.
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
 * What becomes of each tensor in a directory for `target`. Beside a text model, encoders of images and sound stay in
 * floats unless they are asked for: loaders run those of many models so.
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

/** The shape that loaders contract along the last axis: [in, out] is turned. */
export function turned(
  shape: readonly number[],
  { role }: RoleDecision,
): readonly number[] {
  return role === "linear-in-out" ? swapped(shape) : shape;
}

/** The tensors that stand for a packed one. */
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
