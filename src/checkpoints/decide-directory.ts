/**
 * Decides for each tensor of a directory whether it is quantized: by its role, the loader, and the caller's patterns.
 */
import type { Rotation } from "../api/options.ts";
import type { Target } from "../api/scheme.ts";
import { AppError } from "../api/errors.ts";
import {
  recognizeFormats,
  refuseUnread,
} from "../formats/blocks/foreign-formats.ts";
import type { Dtype } from "../formats/dtype.ts";
import { isFloat } from "../formats/dtype.ts";
import {
  isNamed,
  type Selection,
} from "../formats/operations/name-patterns.ts";
import { checkPatternsMatch } from "../formats/operations/nothing-done.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import { linear, unpacked } from "../formats/roles/role.ts";
import { decideRoles } from "../formats/roles/roles.ts";
import type { TensorHead } from "../formats/tensor.ts";
import type { Checkpoint, CheckpointTensor } from "./checkpoint.ts";
import { type Float8View, viewFloat8 } from "./float8-parts.ts";
import { checkNoLoneParts } from "./lone-parts.ts";
import { foldCheckpoint, type FoldedCheckpoint } from "./fold.ts";
import { decideFor, type TargetDecision } from "./targets.ts";

export type TensorChoices = {
  /** Undefined: any loader. */
  target: Target | undefined;
  rotate: Rotation;
  selection: Selection;
};

export type DecidedDirectory = {
  /** The checkpoint's tensors, plus a separate copy of a tied head if a rotation needs it. */
  tensors: readonly CheckpointTensor[];
  config: ModelConfig | undefined;
  decisions: readonly TargetDecision[];
  folded: FoldedCheckpoint | undefined;
  /** FP8 tensors, which are read as floats. */
  float8: Float8View["float8"];
};

/** Errors: `invalid_option` for a pattern that matches no tensor; as `foldCheckpoint` */
export function decideDirectory(
  checkpoint: Checkpoint,
  { target, rotate, selection }: TensorChoices,
): DecidedDirectory {
  const folded = rotate === "fold" ? foldCheckpoint(checkpoint) : undefined;
  const { config } = folded ?? checkpoint;
  const own = (folded ?? checkpoint).tensors;
  const { tensors, float8 } = viewFloat8(own, config);
  checkFloats(tensors);
  checkNoLoneParts(own, []);
  checkPatternsMatch(tensors, selection);
  const roles = decideRoles(tensors, config);
  const wanted = overridden(tensors, roles, selection);
  const isAsked = selection.include.length > 0;
  const decisions =
    target === undefined
      ? wanted
      : decideFor(target, tensors, wanted, config, isAsked);
  return { tensors, config, decisions, folded, float8 };
}

/** Errors: `unsupported_dtype` for weights that are already quantized, which a loader would misread */
function checkFloats(tensors: readonly TensorHead[]): void {
  refuseUnread(tensors);
  const [found] = recognizeFormats(tensors);
  if (found === undefined) return;
  throw new AppError(
    "unsupported_dtype",
    `Expected weights of floats or FP8 to quantize, got ${found.format}, as in "${found.example}"; repack moves blocks to another loader's layout, dequantize makes floats of them`,
  );
}

/** Applies `include` and `exclude`, which only affect matrices of linear layers. */
function overridden(
  heads: readonly TensorHead<Dtype>[],
  decisions: ReturnType<typeof decideRoles>,
  selection: Selection,
): ReturnType<typeof decideRoles> {
  return heads.map(({ name, dtype, shape }, i) => {
    const decision = decisions[i]!;
    const wanted =
      selection.include.length > 0 && ["router", "head"].includes(decision.kind)
        ? linear("linear", shape, "linear")
        : decision;
    if (!wanted.packed) return decision;
    if (!isNamed(name, selection)) return unpacked(decision, "not asked for");
    return isFloat(dtype) ? wanted : unpacked(decision, `${dtype} is not read`);
  });
}
