/**
 * Matrix products in MXFP4. Packing rotates, quantizes and lays out an operand in one pass, from any strides; the
 * product multiplies blocks exactly, in integers (assembly/mxfp4/mxfp4-panel.ts).
 */
import { ALGORITHM_2, type Mxfp4Quantizer } from "../api/recipe.ts";
import type { Pointer } from "./arena.ts";
import { checkCount, checkMultiple, checkStrides } from "./check.ts";
import type { Operand } from "./matmul.ts";
import { BLOCK_SIZE } from "./mx.ts";
import type { NoiseKey } from "./noise.ts";
import { kernels } from "./runtime.ts";

/** Length of a rotated segment, g in the paper. */
export const SEGMENT_LENGTH = 64;

const SCRATCH_BYTES = 4736;
const HEADER_BYTES = 64;
/** Elements along k in one group of a panel. */
const GROUP_LENGTH = 64;
/** Rows packed together, and their bytes per group. */
const SIDES = {
  a: { index: 0, rows: 4, groupBytes: 320 },
  b: { index: 1, rows: 8, groupBytes: 576 },
} as const;
export type Side = keyof typeof SIDES;

export type Mxfp4Packing = {
  /** Sign vector of the RHT, f32 [64]; without it, no rotation. */
  signs?: Pointer | undefined;
  /** Noise key of stochastic rounding; without it, nearest-even. */
  rounding?: NoiseKey | undefined;
  /** Default: 3/4 for stochastic rounding (Algorithm 2, so that nothing clips), 1 for nearest. */
  prescale?: Mxfp4Quantizer["prescale"] | undefined;
};

/** A form of the dot product. The result is the same; which one is fast depends on the machine. */
export type DotForm = "accumulating" | "pairwise";

/** The form that this machine has an instruction for. */
export function fastestDotForm(): DotForm {
  return kernels().exports.accumulatesDots() ? "accumulating" : "pairwise";
}

/** Bytes of one operand's panel. */
export function mxfp4PanelBytes(side: Side, rows: number, k: number): number {
  const { rows: together, groupBytes } = SIDES[side];
  const groups = Math.ceil(k / GROUP_LENGTH);
  return HEADER_BYTES + Math.ceil(rows / together) * groups * groupBytes;
}

/** Packs one operand for `matmulMxfp4`, allocated in the caller's scope. */
export function packMxfp4(
  side: Side,
  operand: Operand,
  rows: number,
  k: number,
  packing: Mxfp4Packing,
): Pointer {
  checkOperand(operand, rows, k, packing);
  const panel = kernels().arena.alloc(mxfp4PanelBytes(side, rows, k));
  packMxfp4Into(panel, side, operand, rows, k, packing);
  return panel;
}

/** The same, to `panel` of `mxfp4PanelBytes`. */
export function packMxfp4Into(
  panel: Pointer,
  side: Side,
  operand: Operand,
  rows: number,
  k: number,
  packing: Mxfp4Packing,
): void {
  checkOperand(operand, rows, k, packing);
  const { source, rowStride, kStride } = operand;
  const {
    signs,
    rounding,
    prescale = rounding ? ALGORITHM_2.prescale : 1,
  } = packing;
  const { arena, exports } = kernels();
  arena.scope(() => {
    const scratch = arena.alloc(SCRATCH_BYTES);
    exports.packMxfp4(
      panel,
      source,
      rows,
      k,
      rowStride,
      kStride,
      SIDES[side].index,
      signs ?? 0,
      Number(prescale !== 1),
      Number(rounding !== undefined),
      rounding?.[0] ?? 0,
      rounding?.[1] ?? 0,
      scratch,
    );
  });
}

function checkOperand(
  { rowStride, kStride }: Operand,
  rows: number,
  k: number,
  { signs }: Mxfp4Packing,
): void {
  checkCount("rows", rows);
  checkMultiple("k", k, signs === undefined ? BLOCK_SIZE : SEGMENT_LENGTH);
  checkStrides(rowStride, kStride);
}

/**
 * out = factor · a · bᵀ. Each 64 of k are summed exactly and rounded to f32 once, then added in order
 * of k, whatever the form.
 *
 * Shapes:   out f32 [m, n]; a, b panels of m and n rows, packed with the same k
 * Special:  a block with a NaN or an infinity makes its row or column NaN
 */
export function matmulMxfp4(
  out: Pointer,
  a: Pointer,
  b: Pointer,
  m: number,
  n: number,
  k: number,
  factor: number,
  form: DotForm = fastestDotForm(),
): void {
  checkCount("m", m);
  checkCount("n", n);
  checkMultiple("k", k, BLOCK_SIZE);
  const accumulating = Number(form === "accumulating");
  kernels().exports.gemmMxfp4(out, a, b, m, n, k, factor, accumulating);
}
