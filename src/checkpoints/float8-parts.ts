/**
 * FP8 in a directory: a weight and its scales, which may lie in files apart. Scales are read first, and held
 * until the weight is through.
 */
import { fromFloat8, loadScales } from "../formats/blocks/float8-sections.ts";
import { findFloat8, type Float8Tensor } from "../formats/blocks/fp8-scales.ts";
import type { OpenSection, Section } from "../formats/stream/conversion.ts";
import type { HoldPool } from "../formats/stream/hold-pool.ts";
import { kept } from "../formats/stream/tensor-sections.ts";
import { elementCount } from "../formats/tensor.ts";
import type { CheckpointTensor } from "./checkpoint.ts";

export type Float8View = {
  /** FP8 weights as floats of BF16, which those that stay become; their scales are gone. */
  tensors: readonly CheckpointTensor[];
  /** By the weight's name. */
  float8: ReadonlyMap<string, Float8Tensor>;
};

/** Errors: those of `findFloat8` */
export function viewFloat8(tensors: readonly CheckpointTensor[]): Float8View {
  const found = findFloat8(tensors);
  const float8 = new Map(found.map((each) => [each.weight.name, each]));
  const scales = new Set(
    found.flatMap(({ scale, inputScale }) => [
      scale?.tensor.name,
      inputScale?.name,
    ]),
  );
  return {
    tensors: tensors
      .filter(({ name }) => !scales.has(name))
      .map((tensor) =>
        float8.has(tensor.name) ? { ...tensor, dtype: "BF16" } : tensor,
      ),
    float8,
  };
}

/** What is read for one, in order. */
export function float8Reads({
  weight,
  scale,
}: Float8Tensor): CheckpointTensor[] {
  const parts = scale ? [scale.tensor, weight] : [weight];
  return parts as readonly unknown[] as CheckpointTensor[];
}

/** Bytes of the scales, which are held. */
export function float8Held({ scale }: Float8Tensor): number {
  return scale ? scale.tensor.end - scale.tensor.start : 0;
}

/** `inner` takes F32. */
export function float8Sections(
  tensor: Float8Tensor,
  pool: HoldPool,
  hold: number,
  inner: () => Section,
): OpenSection[] {
  const { weight, type, scale } = tensor;
  if (!scale) return [() => fromFloat8(inner(), type)];
  const bytes = float8Held(tensor);
  const { grid } = scale;
  const values = () =>
    loadScales(
      scale.tensor.dtype,
      pool.bytes(hold, bytes),
      elementCount(grid.counts),
    );
  return [
    () => kept(bytes, pool, hold),
    () => {
      const scaling = { shape: weight.shape, grid, values };
      const section = fromFloat8(inner(), type, scaling);
      return {
        ...section,
        release() {
          section.release?.();
          pool.release(hold);
        },
      };
    },
  ];
}
