/** f32 matrix products. Operands are read at any strides and may be rounded to bf16 on the way. */
import type { Pointer } from "./arena.ts";
import { checkCount } from "./check.ts";
import { kernels } from "./runtime.ts";

const STRIP_WIDTH = { a: 4, b: 8 } as const;
/**
 * Rows of a that are packed and multiplied at a time, while they are in the second-level cache; also bounds the
 * memory for a.
 */
const ROWS_TOGETHER = 128;

/** One operand of out = a · bᵀ: element (row, k) lies row · rowStride + k · kStride elements in. */
export type Operand = { source: Pointer; rowStride: number; kStride: number };

/** The operand stored as [rows, k]. */
export function byRows(source: Pointer, k: number): Operand {
  return { source, rowStride: k, kStride: 1 };
}

/** The operand stored as [k, rows]. */
export function byColumns(source: Pointer, rows: number): Operand {
  return { source, rowStride: 1, kStride: rows };
}

export type MatmulOptions = {
  /** Add to what `out` holds. */
  accumulate?: boolean;
  /** f32 [n]: the initial value of every row, unless accumulating. */
  bias?: Pointer | undefined;
  /** Round both operands to the nearest bf16; products and sums stay f32. */
  roundToBf16?: boolean;
};

/**
 * out (+)= a · bᵀ, or bias + a · bᵀ, each sum in order of k.
 *
 * Shapes:   out f32 [m, n]; a [m, k]; b [n, k]
 */
export function matmul(
  out: Pointer,
  a: Operand,
  b: Operand,
  m: number,
  n: number,
  k: number,
  { accumulate = false, bias = 0, roundToBf16 = false }: MatmulOptions = {},
): void {
  checkCount("rows", m);
  const { arena } = kernels();
  arena.scope(() => {
    const bPanels = packF32("b", b, n, k, roundToBf16);
    for (let row = 0; row < m; row += ROWS_TOGETHER) {
      const rows = Math.min(ROWS_TOGETHER, m - row);
      const source = a.source + 4 * row * a.rowStride;
      const to = out + 4 * row * n;
      arena.scope(() => {
        const aPanels = packF32("a", { ...a, source }, rows, k, roundToBf16);
        const start = accumulate ? to : bias;
        multiplyF32(to, n, aPanels, bPanels, rows, n, k, start);
      });
    }
  });
}

/**
 * `matmul` on operands packed with `packF32`. Rows of `out` are `outStride` elements apart. `start` has the initial
 * sums: `out` itself, f32 [n] for every row, or 0 for zeros.
 */
export function multiplyF32(
  out: Pointer,
  outStride: number,
  aPanels: Pointer,
  bPanels: Pointer,
  m: number,
  n: number,
  k: number,
  start: Pointer,
): void {
  const { exports } = kernels();
  exports.gemmF32(out, outStride, aPanels, bPanels, m, n, k, start);
}

/** Packs one operand for `multiplyF32`, allocated in the caller's scope. */
export function packF32(
  side: "a" | "b",
  operand: Operand,
  rows: number,
  k: number,
  roundToBf16: boolean,
): Pointer {
  checkCount("rows", rows);
  checkCount("k", k);
  const { arena, exports } = kernels();
  const width = STRIP_WIDTH[side];
  const panels = arena.allocF32(Math.ceil(rows / width) * width * k);
  const { source, rowStride, kStride } = operand;
  exports.packF32(
    panels,
    source,
    rows,
    k,
    rowStride,
    kStride,
    width,
    Number(roundToBf16),
  );
  return panels;
}

/** out = sourceᵀ. out f32 [columns, rows]; source f32 [rows, columns]. */
export function transpose(
  out: Pointer,
  source: Pointer,
  rows: number,
  columns: number,
): void {
  checkCount("rows", rows);
  checkCount("columns", columns);
  kernels().exports.transposeF32(out, source, rows, columns);
}

/** Version of the arithmetic and of the order of parameters; raised whenever a change alters training results. */
export const ARITHMETIC_VERSION = 4;

/** Whether this machine fuses `relaxed_madd`. */
export function fusesMadd(): boolean {
  return kernels().exports.fusesMadd() !== 0;
}

/** What a run's bytes depend on besides its config. All trainers of a run must have the same fingerprint. */
export function fingerprint(): string {
  return `${ARITHMETIC_VERSION}-${fusesMadd() ? "fma" : "nofma"}`;
}
