/** The computation of one lease: a pure function of config, parameters, tokens and lease. */
import { frameBytes, framePayload } from "../api/frame.ts";
import type { Lease } from "../api/lease.ts";
import type { RunConfig } from "../api/run-config.ts";
import type { ShardRange } from "../api/run-status.ts";
import { kernels } from "../kernels/runtime.ts";
import type { Steps } from "../kernels/steps.ts";
import { modelOf } from "../model/architectures.ts";
import type { Batch, BatchLoss, KeptActivations } from "../model/model.ts";
import type { PackedWeights } from "../model/packed-weights.ts";
import { EncodedGradient, type PayloadRange } from "./gradient.ts";
import { type ParameterFrame, PulledParameters } from "./pulled-parameters.ts";

/** The constant facts of a run that a trainer needs. */
export type RunPlan = {
  config: RunConfig;
  shards: ShardRange[];
};

export type MicrobatchResult = BatchLoss & {
  /** For a train lease, one frame per shard, its header not yet written; for an eval lease, none. */
  frames: Uint8Array<ArrayBuffer>[];
};

/** One step's parameters, shared by its microbatches. */
export type StepParameters = {
  step: number;
  /** One per shard, in order. */
  frames: readonly ParameterFrame[];
  packedWeights: PackedWeights;
};

export type MicrobatchLease = Pick<Lease, "kind" | "step" | "index">;

/** `parameters` are those of the lease's step. */
export function* computeMicrobatch(
  { config, shards }: RunPlan,
  parameters: StepParameters,
  batch: Batch,
  lease: MicrobatchLease,
  keeps: KeptActivations,
): Steps<MicrobatchResult> {
  const { gradientDtype } = config;
  const frames =
    lease.kind === "eval"
      ? []
      : shards.map(
          ({ length }) => new Uint8Array(frameBytes(gradientDtype, length)),
        );
  const parts = frames.map((bytes, index) => ({
    ...shards[index]!,
    payload: framePayload(bytes),
  }));
  const loss = yield* runMicrobatch(
    config,
    parameters,
    batch,
    lease,
    keeps,
    parts,
  );
  return { ...loss, frames };
}

/** The fields of a config on which a microbatch's result depends, besides its data. */
export type MicrobatchConfig = Pick<
  RunConfig,
  "model" | "recipe" | "gradientDtype" | "seed"
>;

/** The same, with the gradient's payload written to `parts`; allocates only in the arena. */
export function runMicrobatch(
  config: MicrobatchConfig,
  { frames, packedWeights }: StepParameters,
  batch: Batch,
  lease: MicrobatchLease,
  keeps: KeptActivations,
  parts: readonly PayloadRange[],
): Steps<BatchLoss> {
  const { seed, recipe, gradientDtype } = config;
  const model = modelOf(config.model);
  const pass = {
    recipe,
    packedWeights,
    parameters: new PulledParameters(frames),
  };
  return kernels().arena.scopeOf(() => {
    if (lease.kind === "eval") return model.loss(pass, batch);
    const noise = { seed, step: lease.step, microbatch: lease.index };
    const gradient = new EncodedGradient(gradientDtype, noise, parts);
    return model.lossAndGradient({ ...pass, gradient, noise, keeps }, batch);
  });
}
