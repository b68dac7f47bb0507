/**
 * All parameters of a model are one flat f32 vector, and a table says where each tensor lies in it. The
 * gradient and the optimizer's moments share the layout, so shards are plain ranges.
 *
 * Each tensor is padded to 64 elements: no MXFP4 block or RHT segment of a gradient on the wire holds two
 * tensors. Padding is zero, always.
 */
import { noiseKey, PURPOSE } from "../kernels/noise.ts";
import { kernels } from "../kernels/runtime.ts";
import { drawNormal } from "../kernels/vector.ts";

const PADDING = 64;

/** What a tensor is, wherever it comes to lie. */
export type TensorSpec = {
  name: string;
  shape: number[];
  /** How it starts: normal draws with this standard deviation, or a constant. */
  initial: { deviation: number } | { value: number };
};

export type ParameterTensor = TensorSpec & {
  /** In elements, a multiple of 64. */
  offset: number;
  length: number;
  /** Whether AdamW's weight decay applies: matrices only. */
  decays: boolean;
};

export type ParameterTable = {
  tensors: ParameterTensor[];
  /** Padding included; a multiple of 64. */
  length: number;
};

/** A range in elements. */
export type Range = { start: number; length: number };

/** `specs` in their order: it is part of what a run's bytes mean. */
export function layOut(specs: readonly TensorSpec[]): ParameterTable {
  let offset = 0;
  const tensors = specs.map((spec) => {
    const length = spec.shape.reduce((product, size) => product * size, 1);
    const decays = spec.shape.length === 2;
    const tensor = { ...spec, offset, length, decays };
    offset += paddedLength(tensor);
    return tensor;
  });
  return { tensors, length: offset };
}

/** With the padding up to whole segments. */
export function paddedLength({ length }: { length: number }): number {
  return Math.ceil(length / PADDING) * PADDING;
}

/**
 * Initial values of `[start, start + length)` of the flat vector: a pure function of (table, seed,
 * element), whatever the range, so each shard draws its own. Padding is 0. Copies out.
 */
export function initialParameters(
  table: ParameterTable,
  seed: number,
  start: number,
  length: number,
): Float32Array<ArrayBuffer> {
  const { arena } = kernels();
  return arena.scope(() => {
    const values = arena.allocZeroedF32(length);
    for (const [index, tensor] of table.tensors.entries()) {
      const part = overlap(
        { start: tensor.offset, length: tensor.length },
        { start, length },
      );
      if (part.length === 0) continue;
      const out = values + 4 * (part.start - start);
      if ("value" in tensor.initial) {
        arena.f32(out, part.length).fill(tensor.initial.value);
      } else {
        const key = noiseKey(seed, PURPOSE.initialParameters, index);
        drawNormal(
          out,
          part.length,
          tensor.initial.deviation,
          key,
          part.start - tensor.offset,
        );
      }
    }
    return arena.f32(values, length).slice();
  });
}

/** The padding within `[start, start + length)`, relative to `start`. */
export function paddingRanges(
  table: ParameterTable,
  start: number,
  length: number,
): Range[] {
  const ranges: Range[] = [];
  for (const [index, tensor] of table.tensors.entries()) {
    const paddingStart = tensor.offset + tensor.length;
    const next = table.tensors[index + 1]?.offset ?? table.length;
    const part = overlap(
      { start: paddingStart, length: next - paddingStart },
      { start, length },
    );
    if (part.length > 0) {
      ranges.push({ start: part.start - start, length: part.length });
    }
  }
  return ranges;
}

/** What two ranges share; length 0 when nothing. */
export function overlap(first: Range, second: Range): Range {
  const start = Math.max(first.start, second.start);
  const end = Math.min(
    first.start + first.length,
    second.start + second.length,
  );
  return { start, length: Math.max(0, end - start) };
}
