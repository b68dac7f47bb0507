/** What a trainer needs in memory: an isolate has 128 MiB, a Node process has more. */
import { frameBytes } from "../api/frame.ts";
import type { RunConfig } from "../api/run-config.ts";
import { dryRun } from "../kernels/runtime.ts";
import { finish } from "../kernels/steps.ts";
import { KEPT_ACTIVATIONS, type KeptActivations } from "../model/model.ts";
import { PackedWeights } from "../model/packed-weights.ts";
import { modelOf } from "../model/architectures.ts";
import { runMicrobatch } from "./microbatch.ts";
import { parameterDtype } from "./pulled-parameters.ts";
import { wholeVector } from "./sharding.ts";
import { cachedTokenBytes } from "./token-cache.ts";
import { tokenLengthsBytes } from "./token-lengths.ts";

/** Half of an isolate: shards may live in the same one, with their own bound, and code and requests. */
export const MAX_HOSTED_BYTES = 64 * 1024 * 1024;

/** How a trainer computes; none of it changes a byte of what it computes. */
export type TrainerMemory = {
  keeps: KeptActivations;
  /** Of the arena, for the packed weights of a step. */
  panelBytes: number;
  /** From one microbatch of a step to the next, outside of the arena: frames, and pages of the corpus. */
  kept: number;
  /** Whether a gradient may be on its way while the next is computed. */
  overlaps: boolean;
  /** Gradients made, and on their way. */
  pushed: number;
  /** Of the arena, which trainers of one isolate share: its panels, and a microbatch's passes. */
  arena: number;
};

/** All that a trainer holds at one time. */
export function trainerBytes({ kept, pushed, arena }: TrainerMemory): number {
  return kept + pushed + arena;
}

/** What a shape of microbatch asks of memory; the rest of a config does not matter. */
export type MemoryConfig = Pick<
  RunConfig,
  "model" | "recipe" | "gradientDtype" | "sequences"
> & { dataset: Pick<RunConfig["dataset"], "tokens" | "tokenizer"> };

/**
 * The fastest way to compute a run's microbatches in `limitBytes`; where none fits, the smallest.
 * Packing a weight again costs less than computing activations again, so of each kind panels go first; and before
 * them the room for a second gradient, without which the next microbatch waits for the pushes of the last.
 */
export function trainerMemory(
  config: MemoryConfig,
  limitBytes = MAX_HOSTED_BYTES,
): TrainerMemory {
  let smallest: TrainerMemory | undefined;
  for (const keeps of KEPT_ACTIVATIONS) {
    const { wanted } = measure(config, keeps, 0);
    for (const panelBytes of new Set([wanted, 0])) {
      const { memory } = measure(config, keeps, panelBytes);
      for (const each of [overlapping(memory), memory]) {
        if (trainerBytes(each) <= limitBytes) return each;
        if (!smallest || trainerBytes(each) < trainerBytes(smallest)) {
          smallest = each;
        }
      }
    }
  }
  return smallest!;
}

/** The same, with room for a second gradient. */
function overlapping(memory: TrainerMemory): TrainerMemory {
  return { ...memory, overlaps: true, pushed: 2 * memory.pushed };
}

/** With room for `panelBytes` of packed weights; `wanted` is the room in which all of them stay. */
function measure(
  config: MemoryConfig,
  keeps: KeptActivations,
  panelBytes: number,
): { memory: TrainerMemory; wanted: number } {
  const { model, sequences, gradientDtype, dataset } = config;
  const { table } = modelOf(model);
  const { length } = table;
  const dtype = parameterDtype(config);
  const tokens = new Int32Array(sequences * model.context);
  const batch = { sequences, tokens, targets: tokens };
  let wanted = 0;
  const arena = dryRun(() => {
    const packedWeights = new PackedWeights(panelBytes);
    const frames = [
      { ...wholeVector(table), dtype, payload: new Uint8Array(0) },
    ];
    const parameters = { step: 0, frames, packedWeights };
    for (const kind of ["eval", "train"] as const) {
      const lease = { kind, step: 0, index: 0 };
      finish(
        runMicrobatch(
          { ...config, seed: 0 },
          parameters,
          batch,
          lease,
          keeps,
          [],
        ),
      );
    }
    wanted = packedWeights.wantedBytes;
  });
  const kept =
    frameBytes(dtype, length) +
    cachedTokenBytes(dataset) +
    tokenLengthsBytes(dataset, model);
  const pushed = frameBytes(gradientDtype, length);
  const overlaps = false;
  const memory = { keeps, panelBytes, kept, overlaps, pushed, arena };
  return { memory, wanted };
}
