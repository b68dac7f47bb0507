/** How much memory a trainer needs. An isolate has 128 MiB, a process or a tab more. */
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

/**
 * Half of an isolate. The rest is for shards in the same isolate, which have a bound of their own, code and requests.
 */
export const MAX_HOSTED_BYTES = 64 * 1024 * 1024;
/** The kernels' memory cannot be larger (`asconfig.json`). */
const MAX_ARENA_BYTES = 1024 * 1024 * 1024;

/**
 * Memory of each of `trainers` that share `allBytes` of a process or a tab: never less than that of a hosted one, with
 * which all models are computed.
 */
export function joinedBytes(allBytes: number, trainers: number): number {
  const each = Math.floor(allBytes / trainers);
  return Math.min(MAX_ARENA_BYTES, Math.max(MAX_HOSTED_BYTES, each));
}

/** How a trainer uses memory. None of it changes a byte of the results. Sizes in bytes. */
export type TrainerMemory = {
  keeps: KeptActivations;
  /** Arena memory for the packed weights of a step. */
  panelBytes: number;
  /** Kept between the microbatches of a step, outside the arena: parameter frames, pages of the corpus. */
  kept: number;
  /** Whether a gradient may still be being sent while the next is computed. */
  overlaps: boolean;
  /** Gradient frames: the one being computed, and with `overlaps` the one being sent. */
  pushed: number;
  /** Arena memory, shared by the trainers of an isolate: packed weights, and the forward and backward pass. */
  arena: number;
};

/** The most that a trainer holds at one time. */
export function trainerBytes({ kept, pushed, arena }: TrainerMemory): number {
  return kept + pushed + arena;
}

/** The fields of a config that determine a trainer's memory. */
export type MemoryConfig = Pick<
  RunConfig,
  "model" | "recipe" | "gradientDtype" | "sequences"
> & { dataset: Pick<RunConfig["dataset"], "tokens" | "tokenizer"> };

/**
 * The fastest use of memory within `limitBytes`; if none fits, the smallest. What is given up first: room for a
 * second gradient, which only overlaps pushes with computing; then the packed weights, since packing again costs less
 * than recomputing activations.
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

/** Dry run with `panelBytes` for packed weights; `wanted` is how many bytes would hold all of them. */
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
