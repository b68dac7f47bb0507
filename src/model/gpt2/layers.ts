/** The parts of a GPT-2's blocks: LayerNorm, multi-head attention, GELU. */
import type { Gpt2Shape } from "../../api/run-config.ts";
import type { Pointer } from "../../kernels/arena.ts";
import {
  attentionBackward,
  attentionForward,
  type Heads,
} from "../../kernels/attention.ts";
import { geluBackward, geluForward } from "../../kernels/elementwise.ts";
import {
  layerNormBackward,
  layerNormForward,
  type RowMoments,
} from "../../kernels/norms.ts";
import { kernels } from "../../kernels/runtime.ts";
import { withGradients } from "../flat-vector.ts";
import type { Layers, LinearName, Sizes } from "../layers.ts";
import type { BackwardPass, Pass } from "../model.ts";
import { widths } from "./config.ts";
import type { BlockTensors, TensorPair } from "./parameters.ts";

export type Gpt2Parts = {
  shape: Gpt2Shape;
  block: BlockTensors;
  moments: RowMoments; // [N], [N]
  kept: object;
};

/** For display. */
const LINEAR_NAMES: Record<LinearName, string> = {
  qkv: "QKV",
  attentionOut: "attention out",
  up: "MLP up",
  down: "MLP down",
};

export const GPT2_LAYERS: Layers<Gpt2Parts> = {
  widths(shape) {
    const { qkv, hidden } = widths(shape);
    return { qkv, attention: shape.width, up: hidden, gated: hidden };
  },
  allocMoments(rows) {
    const { arena } = kernels();
    return { mean: arena.allocF32(rows), rstd: arena.allocF32(rows) };
  },
  allocKept: () => () => ({}),
  linear: (name, tensors) => ({ ...tensors[name], name: LINEAR_NAMES[name] }),
  norm: { forward: normForward, backward: normBackward },
  attention: {
    forward({ attention, logSumExp, qkv }, { shape, batch }) {
      const sequences = { sequences: batch.B, length: batch.T };
      attentionForward(attention, logSumExp, qkv, sequences, headsOf(shape));
    },
    backward({ gated, attention, qkv, logSumExp }, { shape, batch }) {
      const dQkv = gated; // [N, 3C] in the room of [N, 4C]
      const sequences = { sequences: batch.B, length: batch.T };
      const heads = headsOf(shape);
      attentionBackward(dQkv, attention, qkv, logSumExp, sequences, heads);
      return dQkv;
    },
  },
  gate: {
    forward: ({ gated, up }, { shape, batch: { N } }) =>
      geluForward(gated, up, N * widths(shape).hidden),
    backward({ gated, up }, { shape, batch: { N } }) {
      geluBackward(gated, gated, up, N * widths(shape).hidden);
      return gated;
    },
  },
};

function normForward(
  out: Pointer,
  moments: RowMoments,
  x: Pointer,
  { weight, bias }: TensorPair,
  { shape, batch }: Sizes<Gpt2Parts>,
  { parameters }: Pass,
): void {
  kernels().arena.scope(() =>
    layerNormForward(
      out,
      moments,
      x,
      { weight: parameters.read(weight), bias: parameters.read(bias) },
      batch.N,
      shape.width,
    ),
  );
}

function normBackward(
  dX: Pointer,
  dOut: Pointer,
  x: Pointer,
  moments: RowMoments,
  { weight, bias }: TensorPair,
  { shape, batch }: Sizes<Gpt2Parts>,
  { gradient, parameters }: BackwardPass,
): void {
  withGradients(gradient, [weight, bias], ([dWeight, dBias]) =>
    layerNormBackward(
      dX,
      { weight: dWeight!, bias: dBias! },
      dOut,
      x,
      moments,
      parameters.read(weight),
      batch.N,
      shape.width,
    ),
  );
}

function headsOf({ width, heads }: Gpt2Shape): Heads {
  return { heads, groups: heads, headWidth: width / heads };
}
