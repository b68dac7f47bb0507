/** What a trainer needs in memory: an isolate has 128 MiB, a Node process has more. */
import { payloadBytes } from "../api/frame.ts";
import type { RunConfig } from "../api/types.ts";

/** Half of an isolate: shards may live in the same one, with their own bound, and code and requests. */
export const MAX_HOSTED_BYTES = 64 * 1024 * 1024;

/** Per layer and token, in widths: norm1, qkv 3, attention, middle, norm2, up 4, gelu 4, output. */
const BLOCK_WIDTHS = 16;
/** Per token, in widths: the input, hidden, and a backward pass's four buffers and operand copies. */
const OTHER_WIDTHS = 16;

/** An upper estimate of what one trainer takes, in bytes. */
export type TrainerMemory = {
  /** From one microbatch of a step to the next: frames, and packed weights. */
  kept: number;
  /** Gradients on their way: encoded as a whole, sliced, and framed. */
  pushed: number;
  /** Of the kernels' memory, which trainers of one isolate share. */
  arena: number;
};

/** `parameters`: of the flat vector. */
export function trainerMemory(
  { model, recipe, gradientDtype, sequences }: RunConfig,
  parameters: number,
): TrainerMemory {
  const tokens = sequences * model.context;
  const pulled = payloadBytes(recipe === "f32" ? "f32" : "bf16", parameters);
  // Weights packed once a step for a pass, a byte each and their scales.
  const packings = recipe.startsWith("int6") ? 2 : 1;
  const widths = BLOCK_WIDTHS * model.layers + OTHER_WIDTHS;
  const activations = 4 * tokens * (widths * model.width + model.vocabulary);
  return {
    kept: pulled + packings * 1.25 * parameters,
    pushed: 3 * payloadBytes(gradientDtype, parameters),
    // Parameters and gradient in f32.
    arena: 2 * 4 * parameters + activations,
  };
}

export function trainerBytes(config: RunConfig, parameters: number): number {
  const { kept, pushed, arena } = trainerMemory(config, parameters);
  return kept + pushed + arena;
}
