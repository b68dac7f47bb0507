/** How close a recipe's gradients of a linear layer (dX, dW) are to those in f32, by number of draws. */
import type { Recipe } from "../api/recipe.ts";
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { compare } from "../kernels/statistics.ts";
import { linearBackward } from "../model/linear.ts";
import type { NoiseCoordinates } from "../model/linear-noise.ts";
import { PackedWeights } from "../model/packed-weights.ts";
import type { ObservedLayer } from "./observed-layers.ts";

export const GRADIENTS = ["dX", "dW"] as const;
export type GradientName = (typeof GRADIENTS)[number];

export type GradientErrors = {
  /** Cosine between one draw and the f32 gradient, averaged over draws. */
  cosine: number;
  /** ⟨mean of draws, f32⟩ / ⟨f32, f32⟩: 1 if nothing shrinks or grows. */
  slope: number;
  /** ‖draw − f32‖² / ‖f32‖², averaged over draws. */
  oneDraw: number;
  /** ‖mean of n draws − f32‖² / ‖f32‖² for n = 1, 2, 4, …; falls as 1/n if the estimate is unbiased. */
  ofMean: number[];
};

export type LayerErrors = Record<GradientName, GradientErrors>;

/** The noise key of a draw. */
type DrawNoise = (draw: number) => NoiseCoordinates;

const OWN_NOISE: DrawNoise = (draw) => ({ seed: 0, step: draw, microbatch: 0 });

/** Measures `draws` draws, a power of two, each with its own noise. */
export function layerErrors(
  layer: ObservedLayer,
  recipe: Recipe,
  draws: number,
  noise = OWN_NOISE,
): LayerErrors {
  const { arena } = kernels();
  const { tokens, inFeatures, outFeatures } = layer;
  const sizes = { dX: tokens * inFeatures, dW: inFeatures * outFeatures };
  return arena.scope(() => {
    const operands = {
      weight: arena.copyIn(layer.weight),
      input: arena.copyIn(layer.input),
      dOutput: arena.copyIn(layer.dOutput),
    };
    const room = () => ({
      dX: arena.allocF32(sizes.dX),
      dW: arena.allocF32(sizes.dW),
    });
    const [exact, drawn, mean] = [room(), room(), room()];
    backward(exact, layer, operands, "f32", noise(0));
    const sums = {
      dX: new Float64Array(sizes.dX),
      dW: new Float64Array(sizes.dW),
    };
    const errors: LayerErrors = { dX: none(), dW: none() };
    for (let draw = 0; draw < draws; draw++) {
      backward(drawn, layer, operands, recipe, noise(draw));
      const count = draw + 1;
      for (const name of GRADIENTS) {
        const error = errors[name];
        arena.scope(() => {
          const one = compare(exact[name], drawn[name], sizes[name]);
          error.cosine +=
            one.product / Math.sqrt(one.signal * one.power) / draws;
          error.oneDraw += one.noise / one.signal / draws;
          const sum = sums[name];
          const values = arena.f32(drawn[name], sum.length);
          for (let i = 0; i < sum.length; i++) sum[i]! += values[i]!;
          if ((count & draw) !== 0) return; // no power of two
          const means = arena.f32(mean[name], sum.length);
          for (let i = 0; i < sum.length; i++) means[i] = sum[i]! / count;
          const all = compare(exact[name], mean[name], sum.length);
          error.ofMean.push(all.noise / all.signal);
          error.slope = all.product / all.signal;
        });
      }
    }
    return errors;
  });
}

function none(): GradientErrors {
  return { cosine: 0, slope: 0, oneDraw: 0, ofMean: [] };
}

function backward(
  out: Record<GradientName, Pointer>,
  { tokens, outFeatures, ...layer }: ObservedLayer,
  operands: { weight: Pointer; input: Pointer; dOutput: Pointer },
  recipe: Recipe,
  noise: NoiseCoordinates,
): void {
  const { arena } = kernels();
  arena.scope(() => {
    const dBias = arena.allocZeroedF32(outFeatures);
    const readWeight = () => operands.weight;
    linearBackward(
      { dInput: out.dX, dWeight: out.dW, dBias },
      operands.dOutput,
      operands.input,
      { ...layer, outFeatures, readWeight },
      tokens,
      recipe,
      noise,
      new PackedWeights(),
    );
  });
}
