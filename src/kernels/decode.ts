/**
 * The operations of a decoder. Each has the same bits on every machine. Matrices are stored in panels of eight rows,
 * f32 or MXFP4 (assembly/decode/).
 */
import type { Pointer } from "./arena.ts";
import { checkCount, checkMultiple } from "./check.ts";
import { decodeKernels } from "./decode-runtime.ts";
import type { Angles, Heads } from "./attention.ts";
import { kernels } from "./runtime.ts";
import { BLOCK_SIZE } from "./mx.ts";

export const PANEL_ROWS = 8;
const PANEL_BLOCK_BYTES = 136;
const MXFP4_BLOCK_BYTES = 16;

export const WEIGHT_FORMATS = ["f32", "mxfp4"] as const;
export type WeightFormat = (typeof WEIGHT_FORMATS)[number];

/** Bytes of a panel of eight rows. */
export function decodePanelBytes(
  format: WeightFormat,
  columns: number,
): number {
  checkCount("columns", columns);
  if (format === "f32") return PANEL_ROWS * columns * 4;
  checkMultiple("columns", columns, BLOCK_SIZE);
  return (columns / BLOCK_SIZE) * PANEL_BLOCK_BYTES;
}

/** Activations in the form that a format's product takes, allocated in the caller's scope. */
export type Factor = { x: Pointer; scales: Pointer };

/** x f32 [tokens, columns], 16-byte aligned. */
export function factorOf(
  format: WeightFormat,
  x: Pointer,
  tokens: number,
  columns: number,
): Factor {
  if (format === "f32") return { x, scales: 0 };
  const { arena } = kernels();
  const length = tokens * columns;
  const integers = arena.alloc(2 * length);
  const scales = arena.allocF32(length / BLOCK_SIZE);
  decodeKernels().quantizeRowsI16(integers, scales, x, length);
  return { x: integers, scales };
}

/** out[t] = panels · x[t]. out f32 [tokens, rows], rows of `out` `stride` apart. */
export function multiplyDecodePanels(
  format: WeightFormat,
  out: Pointer,
  stride: number,
  panels: Pointer,
  { x, scales }: Factor,
  rows: number,
  columns: number,
  tokens: number,
): void {
  const exports = decodeKernels();
  if (format === "f32")
    exports.multiplyPanelsF32(out, stride, panels, x, rows, columns, tokens);
  else
    exports.multiplyPanelsMxfp4(
      out,
      stride,
      panels,
      x,
      scales,
      rows,
      columns,
      tokens,
    );
}

/** Packs up to eight rows of f32 as an f32 panel; element (r, k) is at offset r · rowStride + k · columnStride. */
export function packPanelF32(
  panel: Pointer,
  source: Pointer,
  rows: number,
  columns: number,
  rowStride: number,
  columnStride: number,
): void {
  decodeKernels().packPanelF32(
    panel,
    source,
    rows,
    columns,
    rowStride,
    columnStride,
  );
}

/** Packs codes and scales of up to eight rows, `blocks` blocks each, into an MXFP4 panel from block `firstBlock` on. */
export function packPanelMxfp4(
  panel: Pointer,
  firstBlock: number,
  codes: Pointer,
  scales: Pointer,
  rows: number,
  blocks: number,
): void {
  decodeKernels().packPanelMxfp4(
    panel,
    firstBlock,
    codes,
    scales,
    rows,
    blocks,
    blocks * MXFP4_BLOCK_BYTES,
    blocks,
  );
}

/** Row `lane` of a panel, dequantized. out f32 [columns]. */
export function panelRow(
  format: WeightFormat,
  out: Pointer,
  panel: Pointer,
  lane: number,
  columns: number,
): void {
  const exports = decodeKernels();
  if (format === "f32") exports.panelRowF32(out, panel, lane, columns);
  else exports.panelRowMxfp4(out, panel, lane, columns);
}

/** The cached keys and values of one layer, f32 [positions, groups · headWidth] each. */
export type LayerCache = { keys: Pointer; values: Pointer };

/** Causal attention of `tokens` from position `first` on. out, q f32 [tokens, heads · headWidth]. */
export function attend(
  out: Pointer,
  q: Pointer,
  qStride: number,
  { keys, values }: LayerCache,
  first: number,
  tokens: number,
  { heads, groups, headWidth }: Heads,
): void {
  const { arena } = kernels();
  arena.scope(() => {
    const scores = arena.allocF32(first + tokens);
    decodeKernels().attendF32(
      out,
      heads * headWidth,
      q,
      qStride,
      keys,
      values,
      scores,
      first,
      tokens,
      heads,
      groups,
      headWidth,
      1 / Math.sqrt(headWidth),
    );
  });
}

/** out = (x − mean) · rstd · weight + bias, epsilon 1e-5. out, x f32 [rows, width]. */
export function layerNorm(
  out: Pointer,
  x: Pointer,
  weight: Pointer,
  bias: Pointer,
  rows: number,
  width: number,
): void {
  const { arena } = kernels();
  arena.scope(() => {
    const moments = arena.allocF32(2 * rows);
    decodeKernels().layerNormForwardF32(
      out,
      moments,
      moments + 4 * rows,
      x,
      weight,
      bias,
      rows,
      width,
    );
  });
}

/** out = x / √(mean(x²) + epsilon) · weight. out, x f32 [rows, width], `stride` apart; `out` may be `x`. */
export function rmsNorm(
  out: Pointer,
  x: Pointer,
  weight: Pointer,
  rows: number,
  width: number,
  epsilon: number,
  stride = width,
): void {
  const { arena } = kernels();
  arena.scope(() => {
    const rstd = arena.allocF32(rows);
    decodeKernels().rmsNormForwardF32(
      out,
      rstd,
      x,
      weight,
      rows,
      width,
      stride,
      epsilon,
    );
  });
}

/**
 * Rotary embedding, in place. x f32 [tokens, heads, headWidth], tokens `stride` apart; angles f32 [tokens, headWidth
 * / 2].
 */
export function rotary(
  x: Pointer,
  { cosines, sines }: Angles,
  tokens: number,
  heads: number,
  headWidth: number,
  stride: number,
): void {
  decodeKernels().rotaryForwardF32(
    x,
    cosines,
    sines,
    tokens,
    heads,
    headWidth,
    stride,
  );
}

/** out = a + b. f32 [length] each; `out` may be one of them. */
export function sum(
  out: Pointer,
  a: Pointer,
  b: Pointer,
  length: number,
): void {
  decodeKernels().sumF32(out, a, b, length);
}

/** x[t] += added, in place. x f32 [rows, width]; added f32 [width]. */
export function addToRows(
  x: Pointer,
  added: Pointer,
  rows: number,
  width: number,
): void {
  for (let t = 0; t < rows; t++) {
    const row = x + 4 * t * width;
    sum(row, row, added, width);
  }
}

/** out = gelu(x), tanh form. f32 [length] each; `out` may be `x`. */
export function geluTanh(out: Pointer, x: Pointer, length: number): void {
  decodeKernels().geluTanhF32(out, x, length);
}

/** out = gate · σ(gate) · up. f32 [length] each; `out` may be one of them. */
export function swiglu(
  out: Pointer,
  gate: Pointer,
  up: Pointer,
  length: number,
): void {
  decodeKernels().swigluForwardF32(out, gate, up, 1, length, length);
}

/** e^x of each value. */
export function exponentials(x: readonly number[]): number[] {
  const { arena } = kernels();
  return arena.scope(() => {
    const values = arena.copyIn(Float32Array.from(x));
    decodeKernels().expF32(values, values, x.length);
    return Array.from(arena.f32(values, x.length));
  });
}
