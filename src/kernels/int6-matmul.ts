/**
 * Matrix products on 6-bit integers with a scale per 64 of k: MXFP4's integer dot product at its full width
 * (assembly/int6/int6-panel.ts), for operands that need more precision.
 */
import type { Pointer } from "./arena.ts";
import { checkCount, checkMultiple, checkStrides } from "./check.ts";
import type { Operand } from "./matmul.ts";
import { type DotForm, fastestDotForm, type Side } from "./mxfp4-matmul.ts";
import { kernels } from "./runtime.ts";

/** Elements along k that share a scale. */
const GROUP_LENGTH = 64;

const SCRATCH_BYTES = 4224;
/** Columns of the product in one pair of strips. */
const COLUMNS = 8;
/** Rows packed together, and their bytes per group. */
const SIDES = {
  a: { index: 0, rows: 4, groupBytes: 288 },
  b: { index: 1, rows: COLUMNS, groupBytes: 544 },
} as const;

/** Bytes of one operand's panel. */
export function int6PanelBytes(side: Side, rows: number, k: number): number {
  const { rows: together, groupBytes } = SIDES[side];
  return Math.ceil(rows / together) * (k / GROUP_LENGTH) * groupBytes;
}

/** Packs one operand for `matmulInt6`, allocated in the caller's scope. */
export function packInt6(
  side: Side,
  operand: Operand,
  rows: number,
  k: number,
): Pointer {
  checkOperand(operand, rows, k);
  const panel = kernels().arena.alloc(int6PanelBytes(side, rows, k));
  packInt6Into(panel, side, operand, rows, k);
  return panel;
}

/** The same, to `panel` of `int6PanelBytes`. */
export function packInt6Into(
  panel: Pointer,
  side: Side,
  operand: Operand,
  rows: number,
  k: number,
): void {
  checkOperand(operand, rows, k);
  const { source, rowStride, kStride } = operand;
  const { arena, exports } = kernels();
  arena.scope(() => {
    const scratch = arena.alloc(SCRATCH_BYTES);
    const { index } = SIDES[side];
    exports.packInt6(
      panel,
      source,
      rows,
      k,
      rowStride,
      kStride,
      index,
      scratch,
    );
  });
}

/**
 * Packs one operand for `matmulInt6` to `panel` of `int6PanelBytes`: rotated, rounded to nearest MXFP4, and each
 * segment multiplied by the factor that undoes the shrinkage of rounding (assembly/int6/pack-eden.ts).
 *
 * Shapes:   signs f32 [64]; operand [rows, k]
 */
export function packEdenInto(
  panel: Pointer,
  side: Side,
  operand: Operand,
  rows: number,
  k: number,
  signs: Pointer,
): void {
  checkOperand(operand, rows, k);
  const { source, rowStride, kStride } = operand;
  const { arena, exports } = kernels();
  arena.scope(() => {
    const scratch = arena.alloc(SCRATCH_BYTES);
    const { index } = SIDES[side];
    exports.packEden(
      panel,
      source,
      rows,
      k,
      rowStride,
      kStride,
      index,
      signs,
      scratch,
    );
  });
}

function checkOperand(
  { rowStride, kStride }: Operand,
  rows: number,
  k: number,
): void {
  checkCount("rows", rows);
  checkMultiple("k", k, GROUP_LENGTH);
  checkStrides(rowStride, kStride);
}

/**
 * out = bias + a · bᵀ. The bits do not depend on the form.
 *
 * Shapes:   out f32 [m, n]; a, b panels of m and n rows, packed with the same k; bias f32 [n]
 */
export function matmulInt6(
  out: Pointer,
  a: Pointer,
  b: Pointer,
  bias: Pointer,
  m: number,
  n: number,
  k: number,
  form: DotForm = fastestDotForm(),
): void {
  checkCount("m", m);
  checkMultiple("n", n, COLUMNS);
  checkMultiple("k", k, GROUP_LENGTH);
  const accumulating = Number(form === "accumulating");
  kernels().exports.gemmInt6(out, a, b, bias, m, n, k, accumulating);
}

/**
 * x = factors · x + a · bᵀ: each row of x times its factor, plus the product, which is summed first.
 *
 * Shapes:   x f32 [m, n]; factors f32 [m]; a, b panels of m and n rows, packed with the same k
 */
export function addMatmulInt6(
  x: Pointer,
  factors: Pointer,
  a: Pointer,
  b: Pointer,
  m: number,
  n: number,
  k: number,
  form: DotForm = fastestDotForm(),
): void {
  checkMultiple("m", m, SIDES.a.rows);
  checkMultiple("n", n, COLUMNS);
  checkMultiple("k", k, GROUP_LENGTH);
  const { arena, exports } = kernels();
  const accumulating = Number(form === "accumulating");
  arena.scope(() => {
    const zeros = arena.allocZeroedF32(n);
    exports.gemmOntoInt6(x, factors, a, b, zeros, m, n, k, accumulating);
  });
}

/**
 * out = x · xᵀ, in at most half the time of `matmulInt6`: x is quantized once for both sides, and half of the product
 * computed.
 *
 * Shapes:   out f32 [n, n]; operand x [n, k]
 */
export function gramInt6(
  out: Pointer,
  x: Operand,
  n: number,
  k: number,
  form: DotForm = fastestDotForm(),
): void {
  checkMultiple("n", n, COLUMNS);
  checkMultiple("k", k, GROUP_LENGTH);
  const { arena, exports } = kernels();
  const accumulating = Number(form === "accumulating");
  arena.scope(() => {
    const a = packInt6("a", x, n, k);
    const b = arena.alloc(int6PanelBytes("b", n, k));
    exports.repackInt6(b, a, n, k);
    const zeros = arena.allocZeroedF32(n);
    exports.gramInt6(out, a, b, zeros, n, k, accumulating);
  });
}
