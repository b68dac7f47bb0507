import { storeUpTo8 } from "./rows";

/** Rows of a matrix in one panel, interleaved: row r is lane r. */
// @ts-ignore: decorator
@inline export const PANEL_ROWS: i32 = 8;

/**
 * out[t, r] = Σ w[r, k] · x[t, k], in order of k, without fused multiply-add: the same bits on every machine.
 *
 * Shapes:   out f32 [tokens, rows], `outStride` apart; panels f32 [rows / 8, columns, 8]; x f32 [tokens, columns]
 */
export function multiplyPanelsF32(
  out: usize, outStride: i32, panels: usize, x: usize, rows: i32, columns: i32, tokens: i32,
): void {
  assert(rows >= 1 && columns >= 1 && tokens >= 1, "sizes must be positive");

  const rowBytes = <usize>columns << 2;
  for (let row = 0; row < rows; row += PANEL_ROWS, panels += <usize>columns << 5) {
    let to = out + (<usize>row << 2);
    for (let token = 0; token < tokens; token++, to += <usize>outStride << 2) {
      let low = f32x4.splat(0);
      let high = low;
      let w = panels;
      let at = x + <usize>token * rowBytes;
      for (const end = at + rowBytes; at < end; at += 4, w += 32) {
        const value = v128.load32_splat(at);
        low = f32x4.add(low, f32x4.mul(value, v128.load(w)));
        high = f32x4.add(high, f32x4.mul(value, v128.load(w, 16)));
      }
      storeUpTo8(to, low, high, rows - row);
    }
  }
}

/**
 * Packs up to eight rows of a matrix as a panel; missing rows are 0.
 *
 * Shapes:   panel f32 [columns, 8]; source f32, element (r, k) at offset `rowStride` · r + `columnStride` · k
 */
export function packPanelF32(
  panel: usize, source: usize, rows: i32, columns: i32, rowStride: i32, columnStride: i32,
): void {
  assert(rows >= 1 && rows <= PANEL_ROWS, "a panel has 1 to 8 rows");

  for (let k = 0; k < columns; k++, panel += 32) {
    const from = source + (<usize>k * <usize>columnStride << 2);
    if (rowStride == 1 && rows == PANEL_ROWS) {
      v128.store(panel, v128.load(from));
      v128.store(panel, v128.load(from, 16), 16);
      continue;
    }
    for (let row = 0; row < PANEL_ROWS; row++) {
      const value = row < rows ? load<f32>(from + (<usize>row * <usize>rowStride << 2)) : 0;
      store<f32>(panel + (<usize>row << 2), value);
    }
  }
}

/** Row `lane` of a panel. out f32 [columns]; panel f32 [columns, 8]. */
export function panelRowF32(out: usize, panel: usize, lane: i32, columns: i32): void {
  assert(lane >= 0 && lane < PANEL_ROWS, "a panel has 8 rows");

  panel += <usize>lane << 2;
  for (const end = out + (<usize>columns << 2); out < end; out += 4, panel += 32) {
    store<f32>(out, load<f32>(panel));
  }
}
