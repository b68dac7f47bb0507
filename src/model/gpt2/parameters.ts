/**
 * All parameters are one flat f32 vector, and this table says where each tensor lies in it. The
 * gradient and the optimizer's moments share the layout, so shards are plain ranges.
 *
 * Tensors carry their Hugging Face GPT-2 names and layouts (linear weights are [in, out]), so a
 * checkpoint is a straight copy. Each is padded to 64 elements: no MXFP4 block or RHT segment of a
 * gradient on the wire holds two tensors. Padding is zero, always.
 */
import type { ModelShape } from "../../api/types.ts";
import { noiseKey, PURPOSE } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import { drawNormal } from "../../kernels/vector.ts";
import { checkShape } from "./config.ts";

const PADDING = 64;
const DEVIATION = 0.02;

export type ParameterTensor = {
  /** As Hugging Face's GPT-2 calls it, e.g. "transformer.h.0.attn.c_attn.weight". */
  name: string;
  shape: number[];
  /** In elements, a multiple of 64. */
  offset: number;
  length: number;
  /** Whether AdamW's weight decay applies: matrices only. */
  decays: boolean;
  /** How it starts: normal draws with this standard deviation, or a constant. */
  initial: { deviation: number } | { value: number };
};

export type ParameterTable = {
  tensors: ParameterTensor[];
  /** Padding included; a multiple of 64. */
  length: number;
};

/** A range in elements. */
export type Range = { start: number; length: number };

/** Where each tensor lies. The order is part of what a run's bytes mean: it does not change. */
export function parameterTable(shape: ModelShape): ParameterTable {
  checkShape(shape);
  const { layers, width: C, context: T, vocabulary: V } = shape;
  const tensors: ParameterTensor[] = [];
  let offset = 0;

  const add = (
    name: string,
    tensorShape: number[],
    initial: ParameterTensor["initial"],
  ): void => {
    const length = tensorShape.reduce((product, size) => product * size, 1);
    tensors.push({
      name: `transformer.${name}`,
      shape: tensorShape,
      offset,
      length,
      decays: tensorShape.length === 2,
      initial,
    });
    offset += Math.ceil(length / PADDING) * PADDING;
  };
  const layerNorm = (name: string): void => {
    add(`${name}.weight`, [C], { value: 1 });
    add(`${name}.bias`, [C], { value: 0 });
  };
  const linear = (
    name: string,
    inFeatures: number,
    outFeatures: number,
    deviation: number,
  ): void => {
    add(`${name}.weight`, [inFeatures, outFeatures], { deviation });
    add(`${name}.bias`, [outFeatures], { value: 0 });
  };
  // 2L projections add to the residual stream; GPT-2 keeps its variance independent of depth.
  const residualDeviation = DEVIATION / Math.sqrt(2 * layers);

  add("wte.weight", [V, C], { deviation: DEVIATION });
  add("wpe.weight", [T, C], { deviation: DEVIATION });
  for (let layer = 0; layer < layers; layer++) {
    layerNorm(`h.${layer}.ln_1`);
    linear(`h.${layer}.attn.c_attn`, C, 3 * C, DEVIATION);
    linear(`h.${layer}.attn.c_proj`, C, C, residualDeviation);
    layerNorm(`h.${layer}.ln_2`);
    linear(`h.${layer}.mlp.c_fc`, C, 4 * C, DEVIATION);
    linear(`h.${layer}.mlp.c_proj`, 4 * C, C, residualDeviation);
  }
  layerNorm("ln_f");
  return { tensors, length: offset };
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
      const part = overlap(tensor.offset, tensor.length, start, length);
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
    const part = overlap(paddingStart, next - paddingStart, start, length);
    if (part.length > 0) {
      ranges.push({ start: part.start - start, length: part.length });
    }
  }
  return ranges;
}

/** What two ranges share; length 0 when nothing. */
function overlap(
  firstStart: number,
  firstLength: number,
  secondStart: number,
  secondLength: number,
): Range {
  const start = Math.max(firstStart, secondStart);
  const end = Math.min(firstStart + firstLength, secondStart + secondLength);
  return { start, length: Math.max(0, end - start) };
}
