/** Writes parts of a matrix to its panels: floats, floats that are quantized, or codes and scales. */
import { AppError } from "../api/errors.ts";
import type { Pointer } from "../kernels/arena.ts";
import {
  packPanelF32,
  packPanelMxfp4,
  PANEL_ROWS,
  decodePanelBytes,
  type WeightFormat,
} from "../kernels/decode.ts";
import { transpose } from "../kernels/matmul.ts";
import { BLOCK_SIZE } from "../kernels/mx.ts";
import { type Quantizer, quantizeMxfp4 } from "../kernels/mxfp4.ts";
import { kernels } from "../kernels/runtime.ts";
import type { Panels } from "./panel-weights.ts";

/** Bytes of a block's codes. */
export const BLOCK_BYTES = 16;
const NAN_SCALE = 255;
/** The default of quantized files. */
const PACKING: Quantizer = {
  rounding: { mode: "nearest-even" },
  scale: "even",
  prescale: 1,
};

/** A part [rows, columns] of a matrix, from (row, column) on. */
export type PanelPlace = {
  rows: number;
  columns: number;
  row: number;
  column: number;
};

/** x f32 [rows, columns], or its transpose. */
export function putF32(
  panels: Panels,
  place: PanelPlace,
  x: Pointer,
  isTurned: boolean,
): void {
  const { rows, columns } = place;
  const { arena } = kernels();
  arena.scope(() => {
    const panel = arena.allocF32(columns * PANEL_ROWS);
    for (let row = 0; row < rows; row += PANEL_ROWS) {
      const [rowStride, columnStride] = isTurned ? [1, rows] : [columns, 1];
      const count = Math.min(PANEL_ROWS, rows - row);
      const from = x + 4 * row * rowStride;
      packPanelF32(panel, from, count, columns, rowStride, columnStride);
      const at =
        placeOf(panels, "f32", place, row) + 4 * PANEL_ROWS * place.column;
      panels.bytes.set(arena.u8(panel, 4 * columns * PANEL_ROWS), at);
    }
  });
}

/** Quantizes x, as in `putF32`. Errors: `invalid_number` for values that MXFP4 cannot represent */
export function putMxfp4(
  panels: Panels,
  place: PanelPlace,
  x: Pointer,
  isTurned: boolean,
  name: string,
): void {
  const { rows, columns } = place;
  const { arena } = kernels();
  arena.scope(() => {
    let byRows = x;
    if (isTurned) {
      byRows = arena.allocF32(rows * columns);
      transpose(byRows, x, columns, rows);
    }
    const blocks = columns / BLOCK_SIZE;
    const codes = arena.alloc(rows * blocks * BLOCK_BYTES);
    const scales = arena.alloc(rows * blocks);
    quantizeMxfp4(codes, scales, byRows, rows * columns, PACKING);
    if (arena.u8(scales, rows * blocks).includes(NAN_SCALE))
      throw new AppError(
        "invalid_number",
        `Expected finite values in "${name}", got a NaN or an infinity`,
      );
    putBlocks(panels, place, codes, scales);
  });
}

/** codes u8 [rows, columns / 32, 16]; scales u8 [rows, columns / 32] */
export function putBlocks(
  panels: Panels,
  place: PanelPlace,
  codes: Pointer,
  scales: Pointer,
): void {
  const { rows, columns, column } = place;
  const { arena } = kernels();
  arena.scope(() => {
    const blocks = columns / BLOCK_SIZE;
    const partBytes = decodePanelBytes("mxfp4", columns);
    const panel = arena.alloc(partBytes);
    for (let row = 0; row < rows; row += PANEL_ROWS) {
      const count = Math.min(PANEL_ROWS, rows - row);
      const [from, itsScales] = [row * blocks * BLOCK_BYTES, row * blocks];
      packPanelMxfp4(panel, 0, codes + from, scales + itsScales, count, blocks);
      const before = column === 0 ? 0 : decodePanelBytes("mxfp4", column);
      const at = placeOf(panels, "mxfp4", place, row) + before;
      panels.bytes.set(arena.u8(panel, partBytes), at);
    }
  });
}

/** Offset of the panel with a part's row. */
function placeOf(
  { columns }: Panels,
  format: WeightFormat,
  place: PanelPlace,
  row: number,
): number {
  return ((place.row + row) / PANEL_ROWS) * decodePanelBytes(format, columns);
}
