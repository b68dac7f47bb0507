/**
 * The integer products of a recipe: the size of an operand's panel, packing, and multiplication. Other code sees a
 * product a · bᵀ of any format.
 */
import {
  type Mxfp4Quantizer,
  type PanelProduct,
  productFactor,
} from "../api/recipe.ts";
import type { Pointer } from "./arena.ts";
import { hadamardTransform } from "./hadamard.ts";
import {
  int6PanelBytes,
  matmulInt6,
  packEdenInto,
  packInt6Into,
} from "./int6-matmul.ts";
import { biasForward } from "./elementwise.ts";
import { byRows, type Operand, transpose } from "./matmul.ts";
import {
  matmulMxfp4,
  packMxfp4Into,
  mxfp4PanelBytes,
  SEGMENT_LENGTH,
  type Side,
} from "./mxfp4-matmul.ts";
import type { NoiseKey } from "./noise.ts";
import { kernels } from "./runtime.ts";
import { add } from "./vector.ts";

/** The random bits of an operand. */
export type OperandNoise = {
  /** f32 [the product's rotation]; only if it rotates. */
  signs?: Pointer | undefined;
  /** Only if the operand is rounded stochastically. */
  rounding?: NoiseKey | undefined;
};

/** Bytes of one operand's panel. */
export function panelBytes(
  { format }: PanelProduct,
  side: Side,
  rows: number,
  k: number,
): number {
  return format === "mxfp4"
    ? mxfp4PanelBytes(side, rows, k)
    : int6PanelBytes(side, rows, k);
}

/** Packs one operand [rows, k] to `panel`. */
export function packPanel(
  panel: Pointer,
  product: PanelProduct,
  side: Side,
  operand: Operand,
  rows: number,
  k: number,
  { signs, rounding }: OperandNoise,
): void {
  switch (product.format) {
    case "int6":
      packInt6Into(panel, side, operand, rows, k);
      return;
    case "eden":
      packEdenInto(panel, side, operand, rows, k, signs!);
      return;
    case "mxfp4": {
      const { prescale }: Mxfp4Quantizer = product[side];
      const { rotation } = product;
      kernels().arena.scope(() => {
        const packing = { rounding, prescale };
        if (rotation === 0) {
          packMxfp4Into(panel, side, operand, rows, k, packing);
        } else if (rotation === SEGMENT_LENGTH) {
          const rotating = { ...packing, signs };
          packMxfp4Into(panel, side, operand, rows, k, rotating);
        } else {
          const copy = rotated(operand, rows, k, rotation, signs!);
          packMxfp4Into(panel, side, copy, rows, k, packing);
        }
      });
    }
  }
}

/**
 * out = a · bᵀ, plus `bias` if given.
 *
 * Shapes:   out f32 [m, n]; a, b panels of m and n rows; bias f32 [n]
 */
export function multiplyPanels(
  out: Pointer,
  product: PanelProduct,
  a: Pointer,
  b: Pointer,
  m: number,
  n: number,
  k: number,
  bias?: Pointer,
): void {
  const { arena } = kernels();
  arena.scope(() => {
    if (product.format !== "mxfp4") {
      const starts = bias ?? arena.allocZeroedF32(n);
      matmulInt6(out, a, b, starts, m, n, k);
      return;
    }
    const factor = productFactor(product);
    if (bias === undefined) {
      matmulMxfp4(out, a, b, m, n, k, factor);
      return;
    }
    const sums = arena.allocF32(m * n);
    matmulMxfp4(sums, a, b, m, n, k, factor);
    biasForward(out, bias, m, n);
    add(out, out, sums, m * n);
  });
}

/** A rotated copy [rows, k], for segment lengths that packing does not rotate itself. */
function rotated(
  { source, kStride }: Operand,
  rows: number,
  k: number,
  segmentLength: 32 | 128,
  signs: Pointer,
): Operand {
  const { arena } = kernels();
  const copy = arena.allocF32(rows * k);
  if (kStride !== 1) transpose(copy, source, k, rows);
  else arena.f32(copy, rows * k).set(arena.f32(source, rows * k));
  hadamardTransform(copy, rows * k, segmentLength, signs);
  return byRows(copy, k);
}
