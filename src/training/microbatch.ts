/** One lease's work: a pure function of the config, the parameters, the tokens and the lease. */
import type { Frame } from "../api/frame.ts";
import type { Lease, RunConfig, ShardRange } from "../api/types.ts";
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { decodeBf16 } from "../kernels/vector.ts";
import {
  type Batch,
  evaluateLoss,
  lossAndGradient,
  type LossSum,
} from "../model/gpt2/gpt.ts";
import type { PackedWeights } from "../model/packed-weights.ts";
import { encodeGradient } from "./gradient.ts";

/** What a trainer knows of a run, and does not change. */
export type RunPlan = {
  config: RunConfig;
  /** Length of the flat parameter vector. */
  parameters: number;
  shards: ShardRange[];
};

export type MicrobatchResult = LossSum & {
  /** For a train lease: the gradient's payload for each shard. For an eval lease: none. */
  payloads: Uint8Array<ArrayBuffer>[];
};

/** One step's parameters: what its microbatches have in common. */
export type StepParameters = {
  step: number;
  /** One a shard, in order. */
  frames: readonly Frame[];
  packedWeights: PackedWeights;
};

/** `parameters` are those of the lease's step. */
export function computeMicrobatch(
  plan: RunPlan,
  { frames, packedWeights }: StepParameters,
  batch: Batch,
  lease: Pick<Lease, "kind" | "step" | "index">,
): MicrobatchResult {
  const { config, shards } = plan;
  const { model, recipe, seed } = config;
  const { arena } = kernels();
  return arena.scope(() => {
    const parameters = arena.allocF32(plan.parameters);
    for (const frame of frames) {
      decodeParameters(parameters + 4 * frame.start, frame);
    }
    if (lease.kind === "eval") {
      return {
        ...evaluateLoss(model, recipe, parameters, batch, packedWeights),
        payloads: [],
      };
    }
    const gradient = arena.allocZeroedF32(plan.parameters);
    const key = { seed, step: lease.step, microbatch: lease.index };
    const loss = lossAndGradient(
      model,
      recipe,
      parameters,
      gradient,
      batch,
      key,
      packedWeights,
    );
    const payloads = encodeGradient(
      config.gradientDtype,
      gradient,
      plan.parameters,
      key,
      shards,
    );
    return { ...loss, payloads };
  });
}

function decodeParameters(out: Pointer, frame: Frame): void {
  const { arena } = kernels();
  arena.scope(() => {
    const payload = arena.copyIn(frame.payload);
    if (frame.dtype === "bf16") decodeBf16(out, payload, frame.length);
    else arena.f32(out, frame.length).set(arena.f32(payload, frame.length));
  });
}
