/**
 * The parts of a Llama's blocks: RMSNorm, rotary positions, grouped-query attention, SwiGLU. With `headNorm`, queries
 * and keys are normalized per head before the rotation.
 */
import type { Pointer } from "../../kernels/arena.ts";
import {
  attentionBackward,
  attentionForward,
  rotaryBackward,
  rotaryForward,
} from "../../kernels/attention.ts";
import { swigluBackward, swigluForward } from "../../kernels/elementwise.ts";
import { rmsNormBackward, rmsNormForward } from "../../kernels/norms.ts";
import { kernels } from "../../kernels/runtime.ts";
import { withGradients } from "../flat-vector.ts";
import type { Layers, LinearName, Sizes } from "../layers.ts";
import type { BackwardPass, Pass } from "../model.ts";
import type { ParameterTensor } from "../parameters.ts";
import { widths } from "./config.ts";
import { headsBackward, headsForward } from "./head-norms.ts";
import type { BlockTensors } from "./parameters.ts";
import type { LlamaParts } from "./parts.ts";
import { rotaryAngles, turnsOf } from "./rotary-angles.ts";

/** Weight, bias, and name for display. */
const LINEAR_TENSORS = {
  qkv: ["qkv", "qkvBias", "QKV"],
  attentionOut: ["attentionOut", "attentionOutBias", "attention out"],
  up: ["gateUp", "gateUpBias", "MLP gate and up"],
  down: ["down", "downBias", "MLP down"],
} as const satisfies Record<
  LinearName,
  [keyof BlockTensors, keyof BlockTensors, string]
>;

export const LLAMA_LAYERS: Layers<LlamaParts> = {
  widths(shape) {
    const { queries: attention, qkv, gateUp: up } = widths(shape);
    return { qkv, attention, up, gated: shape.hidden };
  },
  allocMoments: (rows) => kernels().arena.allocF32(rows),
  allocKept: ({ shape, batch: { T, N } }) => {
    const { heads, groups, headNorm } = shape;
    const { arena } = kernels();
    const angles = rotaryAngles(turnsOf(shape), 0, T);
    const alloc = () => ({
      qkv: arena.allocF32(N * widths(shape).qkv),
      rstd: arena.allocF32(N * (heads + groups)),
    });
    return () => ({ angles, headNorms: headNorm ? alloc() : undefined });
  },
  linear(name, tensors) {
    const [tensor, bias, title] = LINEAR_TENSORS[name];
    return { weight: tensors[tensor], bias: tensors[bias], name: title };
  },
  norm: { forward: normForward, backward: normBackward },
  attention: {
    forward(a, block, pass) {
      const { shape } = block;
      headsForward(a, block, pass);
      const turned = a.headNorms?.qkv ?? a.qkv;
      const { sequences, turning } = cutOf(block);
      rotaryForward(turned, a.angles, sequences, ...turning);
      attentionForward(a.attention, a.logSumExp, turned, sequences, shape);
    },
    backward(a, block, pass) {
      const { shape, batch } = block;
      const dQkv = kernels().arena.allocF32(batch.N * widths(shape).qkv);
      const { attention, logSumExp } = a;
      const turned = a.headNorms?.qkv ?? a.qkv;
      const { sequences, turning } = cutOf(block);
      attentionBackward(dQkv, attention, turned, logSumExp, sequences, shape);
      rotaryBackward(dQkv, a.angles, sequences, ...turning);
      headsBackward(dQkv, a, block, pass);
      return dQkv;
    },
  },
  gate: {
    forward({ gated, up }, { shape: { hidden }, batch: { N } }) {
      swigluForward(gated, up, up + 4 * hidden, N, hidden, 2 * hidden);
    },
    backward({ gated, up }, { shape: { hidden }, batch: { N } }) {
      const own = [up, up + 4 * hidden] as const; // gate and up, side by side
      swigluBackward(...own, gated, ...own, N, hidden, 2 * hidden);
      return up;
    },
  },
};

/** A batch's sequences, and the heads of each row that are rotated: queries and keys. */
function cutOf({ shape, batch }: Sizes<LlamaParts>) {
  const { heads, groups, headWidth } = shape;
  return {
    sequences: { sequences: batch.B, length: batch.T },
    turning: [heads + groups, headWidth, widths(shape).qkv] as const,
  };
}

function normForward(
  out: Pointer,
  rstd: Pointer,
  x: Pointer,
  weight: ParameterTensor,
  { shape, batch }: Sizes<LlamaParts>,
  { parameters }: Pass,
): void {
  kernels().arena.scope(() =>
    rmsNormForward(
      out,
      rstd,
      x,
      parameters.read(weight),
      batch.N,
      shape.width,
      shape.epsilon,
    ),
  );
}

function normBackward(
  dX: Pointer,
  dOut: Pointer,
  x: Pointer,
  rstd: Pointer,
  weight: ParameterTensor,
  { shape, batch }: Sizes<LlamaParts>,
  { gradient, parameters }: BackwardPass,
): void {
  withGradients(gradient, [weight], ([dWeight]) =>
    rmsNormBackward(
      dX,
      dWeight!,
      dOut,
      x,
      rstd,
      parameters.read(weight),
      batch.N,
      shape.width,
    ),
  );
}
