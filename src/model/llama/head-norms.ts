/** RMSNorm of queries and keys per head, as in Qwen3. No-ops for models without. */
import type { Pointer } from "../../kernels/arena.ts";
import { rmsNormBackward, rmsNormForward } from "../../kernels/norms.ts";
import { kernels } from "../../kernels/runtime.ts";
import { withGradients } from "../flat-vector.ts";
import type { Block, BlockActivations } from "../layers.ts";
import type { BackwardPass, Pass } from "../model.ts";
import type { ParameterTensor } from "../parameters.ts";
import type { LlamaParts } from "./parts.ts";
import { widths } from "./config.ts";

/** Writes attention's input: queries and keys normalized, values copied. */
export function headsForward(
  { qkv, headNorms: own }: BlockActivations<LlamaParts>,
  { shape, batch: { N }, tensors: { headNorms } }: Block<LlamaParts>,
  { parameters }: Pass,
): void {
  if (!own || !headNorms) return;
  const { headWidth, epsilon } = shape;
  const { qkv: wide } = widths(shape);
  const { arena } = kernels();
  arena.f32(own.qkv, N * wide).set(arena.f32(qkv, N * wide));
  arena.scope(() => {
    for (const { weight, heads } of normedHeads(headNorms, shape)) {
      const values = parameters.read(weight);
      for (const head of heads) {
        const at = own.qkv + 4 * head * headWidth;
        const rstd = own.rstd + 4 * head * N;
        rmsNormForward(at, rstd, at, values, N, headWidth, epsilon, wide);
      }
    }
  });
}

/** `dQkv`, the gradient of `headsForward`'s output, becomes that of `qkv`. */
export function headsBackward(
  dQkv: Pointer,
  { qkv, headNorms: own }: BlockActivations<LlamaParts>,
  { shape, batch: { N }, tensors: { headNorms } }: Block<LlamaParts>,
  { gradient, parameters }: BackwardPass,
): void {
  if (!own || !headNorms) return;
  const { headWidth } = shape;
  const { qkv: wide } = widths(shape);
  const { arena } = kernels();
  // The normalized values are not needed any more: their buffer holds the incoming gradient.
  const dNormed = own.qkv;
  arena.f32(dNormed, N * wide).set(arena.f32(dQkv, N * wide));
  for (const { weight, heads } of normedHeads(headNorms, shape)) {
    withGradients(gradient, [weight], ([dWeight]) => {
      const values = parameters.read(weight);
      for (const head of heads) {
        const at = 4 * head * headWidth;
        clearHead(dQkv + at, N, headWidth, wide);
        rmsNormBackward(
          dQkv + at,
          dWeight!,
          dNormed + at,
          qkv + at,
          own.rstd + 4 * head * N,
          values,
          N,
          headWidth,
          wide,
        );
      }
    });
  }
}

/** Query heads share a weight; key heads, which follow them, share another. */
function normedHeads(
  { q, k }: { q: ParameterTensor; k: ParameterTensor },
  { heads, groups }: LlamaParts["shape"],
) {
  const from = (first: number, count: number) =>
    Array.from({ length: count }, (_, index) => first + index);
  return [
    { weight: q, heads: from(0, heads) },
    { weight: k, heads: from(heads, groups) },
  ];
}

function clearHead(
  x: Pointer,
  N: number,
  headWidth: number,
  stride: number,
): void {
  const { arena } = kernels();
  for (let row = 0; row < N; row++)
    arena.f32(x + 4 * row * stride, headWidth).fill(0);
}
