/** One step's parameters as pulled: a frame from each shard, decoded tensor by tensor. */
import type { FrameHeader } from "../api/frame.ts";
import { payloadBytes } from "../api/frame.ts";
import { RECIPES } from "../api/recipe.ts";
import type { RunConfig, WireDtype } from "../api/run-config.ts";
import type { Pointer } from "../kernels/arena.ts";
import { free } from "../memory/free.ts";
import { kernels } from "../kernels/runtime.ts";
import { decodeBf16, encodeBf16 } from "../kernels/vector.ts";
import type { ParameterSource } from "../model/flat-vector.ts";
import { overlap, type ParameterTensor } from "../model/parameters.ts";
import type { Travelled } from "./link-pace.ts";

/** The fields of a parameter frame that are read. */
export type ParameterFrame = Pick<FrameHeader, "dtype" | "start" | "length"> & {
  payload: Uint8Array;
  /** What was received over the network; if undefined, the whole frame. */
  travelled?: Travelled;
  /** Set if the frame is shared with other trainers: gives up this trainer's use of it. */
  release?: () => void;
};

/** Gives up a frame; its memory is freed unless others still use it. */
export function letGoOf({ payload, release }: ParameterFrame): void {
  if (release) release();
  else free(payload);
}

/** The dtype of parameters on the wire: f32, or bf16 copies of the f32 masters. */
export function parameterDtype({
  recipe,
}: Pick<RunConfig, "recipe">): WireDtype {
  return RECIPES[recipe].parameters;
}

/** Writes `parameters` to `payload`, unchanged or rounded to bf16. */
export function storeParameters(
  payload: Uint8Array,
  dtype: WireDtype,
  parameters: Float32Array,
): void {
  const { arena } = kernels();
  arena.scope(() => {
    const values = arena.copyIn(parameters);
    let out = values;
    if (dtype !== "f32") {
      out = arena.alloc(payload.length);
      encodeBf16(out, values, parameters.length);
    }
    payload.set(arena.u8(out, payload.length));
  });
}

export class PulledParameters implements ParameterSource {
  readonly #frames: readonly ParameterFrame[];

  /** `frames` are those of all shards. */
  constructor(frames: readonly ParameterFrame[]) {
    this.#frames = frames;
  }

  read({ offset, length }: ParameterTensor): Pointer {
    const values = kernels().arena.allocF32(length);
    for (const frame of this.#frames) {
      const part = overlap({ start: offset, length }, frame);
      if (part.length === 0) continue;
      decode(values + 4 * (part.start - offset), frame, part);
    }
    return values;
  }
}

/** Decodes elements `[start, start + length)` of the flat vector to f32 `out` [length]. */
function decode(
  out: Pointer,
  frame: ParameterFrame,
  { start, length }: { start: number; length: number },
): void {
  const { arena } = kernels();
  const first = payloadBytes(frame.dtype, start - frame.start);
  const bytes = payloadBytes(frame.dtype, length);
  const encoded = frame.payload.subarray(first, first + bytes);
  if (frame.dtype === "f32") {
    arena.u8(out, bytes).set(encoded);
    return;
  }
  arena.scope(() => {
    const bits = arena.alloc(bytes);
    arena.u8(bits, bytes).set(encoded);
    decodeBf16(out, bits, length);
  });
}
