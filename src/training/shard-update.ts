/**
 * What a shard computes in a commit: the squared norms of its reduced gradient, then AdamW. Both go
 * through the range slice by slice, so their memory depends on neither its length nor the number of
 * microbatches.
 */
import type { RunConfig, ShardRange } from "../api/types.ts";
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { sumSquares } from "../kernels/vector.ts";
import {
  CHUNK_LENGTH,
  type ParameterTable,
  paddingRanges,
} from "../model/parameters.ts";
import { decodeGradient } from "./gradient.ts";
import { type Update, updateRange } from "./optimizer.ts";
import { reduceGradients } from "./reduction.ts";

/** Elements of one slice: 512 KiB of f32. Whole chunks, and the unit in which pushes are stored. */
export const SLICE_LENGTH = 32 * CHUNK_LENGTH;

/** f32 [length of the shard] each. */
export type ShardState = {
  parameters: Float32Array<ArrayBuffer>;
  m: Float32Array<ArrayBuffer>;
  v: Float32Array<ArrayBuffer>;
};

/** The stored payload of one slice of one microbatch's gradient. */
export type ReadSlice = (microbatch: number, slice: number) => Uint8Array;

export type ShardGeometry = {
  config: RunConfig;
  table: ParameterTable;
  range: ShardRange;
};

/** Σ g² in f64 of each chunk of the step's mean gradient, in order. */
export function squaredNorms(
  geometry: ShardGeometry,
  step: number,
  read: ReadSlice,
): Float64Array<ArrayBuffer> {
  const norms = new Float64Array(
    Math.ceil(geometry.range.length / CHUNK_LENGTH),
  );
  let chunk = 0;
  eachSlice(geometry, step, read, (gradient, _from, length) => {
    for (let done = 0; done < length; done += CHUNK_LENGTH) {
      const part = Math.min(CHUNK_LENGTH, length - done);
      norms[chunk++] = sumSquares(gradient + 4 * done, part);
    }
  });
  return norms;
}

/** AdamW on `state`, in place. */
export function applyUpdate(
  geometry: ShardGeometry,
  state: ShardState,
  update: Update,
  read: ReadSlice,
): void {
  const { config, table, range } = geometry;
  const { arena } = kernels();
  eachSlice(geometry, update.step, read, (gradient, from, length) => {
    const parts = [state.parameters, state.m, state.v].map((part) =>
      part.subarray(from, from + length),
    );
    const pointers = parts.map((part) => arena.copyIn(part));
    const [parameters, m, v] = pointers as [Pointer, Pointer, Pointer];
    updateRange(
      table,
      config.optimizer,
      { parameters, m, v },
      gradient,
      range.start + from,
      length,
      update,
    );
    for (const [index, part] of parts.entries()) {
      part.set(arena.f32(pointers[index]!, length));
    }
  });
}

/** Calls `body` with the mean gradient of each slice, `from` relative to the shard's start. */
function eachSlice(
  { config, table, range }: ShardGeometry,
  step: number,
  read: ReadSlice,
  body: (gradient: Pointer, from: number, length: number) => void,
): void {
  const { arena } = kernels();
  for (let slice = 0; slice * SLICE_LENGTH < range.length; slice++) {
    const from = slice * SLICE_LENGTH;
    const length = Math.min(SLICE_LENGTH, range.length - from);
    const padding = paddingRanges(table, range.start + from, length);
    arena.scope(() => {
      const gradient = arena.allocF32(length);
      reduceGradients(
        gradient,
        length,
        config.microbatches,
        (out, microbatch) =>
          decodeGradient(
            out,
            config.gradientDtype,
            read(microbatch, slice),
            length,
            { seed: config.seed, step, microbatch },
            padding,
          ),
      );
      body(gradient, from, length);
    });
  }
}
