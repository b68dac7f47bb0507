/**
 * FP8 weights in a directory, whose scales may be in other files. Scales are read first, and held until the weight is
 * converted.
 */
import {
  fromFloat8,
  loadScales,
  type Scaling,
} from "../formats/blocks/float8-sections.ts";
import {
  checkScales,
  findFloat8,
  type Float8Tensor,
  type ScaleDtype,
} from "../formats/blocks/fp8-scales.ts";
import type { OpenSection, Section } from "../formats/stream/conversion.ts";
import type { HoldPool } from "../formats/stream/hold-pool.ts";
import { kept } from "../formats/stream/tensor-sections.ts";
import { elementCount } from "../formats/tensor.ts";
import type { Float8Type } from "../kernels/mxfp8.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import type { CheckpointTensor } from "./checkpoint.ts";
import { isQuantized } from "./quantization-config.ts";

export type Float8View = {
  /** The tensors with FP8 weights as BF16, to which unquantized ones are converted, and without their scales. */
  tensors: readonly CheckpointTensor[];
  /** By the weight's name. */
  float8: ReadonlyMap<string, Float8Tensor>;
};

/**
 * If one weight has a scale, or `config` names a quantizer, all must have one. Errors: those of `findFloat8` and
 * `checkScales`
 */
export function viewFloat8(
  tensors: readonly CheckpointTensor[],
  config: ModelConfig | undefined,
): Float8View {
  const found = findFloat8(tensors);
  checkScales(found, () => true, isQuantized(config));
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

/** The tensors read for one FP8 weight, in order. */
export function float8Reads({
  weight,
  scale,
}: Float8Tensor): CheckpointTensor[] {
  const parts = scale ? [scale.tensor, weight] : [weight];
  return parts as readonly unknown[] as CheckpointTensor[];
}

/** Bytes of the held scales. */
export function float8Held({ scale }: Float8Tensor): number {
  return scale ? scale.tensor.end - scale.tensor.start : 0;
}

/** FP8 codes, with everything about their scales except the values. */
type ScaledCodes = {
  type: Float8Type;
  scales?: (Omit<Scaling, "values"> & { dtype: ScaleDtype }) | undefined;
};

/** Wraps `inner`, which reads F32, to read an FP8 tensor. */
export function float8Sections(
  tensor: Float8Tensor,
  pool: HoldPool,
  hold: number,
  inner: () => Section,
): OpenSection[] {
  const { weight, type, scale } = tensor;
  const scales = scale && {
    dtype: scale.tensor.dtype,
    shape: weight.shape,
    grid: scale.grid,
  };
  return scaledSections(
    { type, scales },
    float8Held(tensor),
    pool,
    hold,
    inner,
  );
}

/** The same for codes: scales, of `scaleBytes`, come first and are held as `hold`. */
export function scaledSections(
  { type, scales }: ScaledCodes,
  scaleBytes: number,
  pool: HoldPool,
  hold: number,
  inner: () => Section,
): OpenSection[] {
  if (!scales) return [() => fromFloat8(inner(), type)];
  const { dtype, grid } = scales;
  const values = () =>
    loadScales(dtype, pool.bytes(hold, scaleBytes), elementCount(grid.counts));
  return [
    () => kept(scaleBytes, pool, hold),
    () => {
      const section = fromFloat8(inner(), type, { ...scales, values });
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
