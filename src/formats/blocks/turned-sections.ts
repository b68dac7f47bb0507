/**
 * A weight that is stored [in, out], or experts [E, in, out], to blocks along `in`: it is written as
 * [out, in]. It comes in slabs of one block's rows, whose columns are turned into blocks, and the
 * elements of one matrix are held until it is through, the scales of all until the end.
 */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import type { NoiseKey } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { Scheme } from "../../api/scheme.ts";
import { dtypeBytes, type FloatDtype, loadFloats } from "../dtype.ts";
import type { Section } from "../stream/conversion.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import { elementCount } from "../tensor.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import { pack, type Told } from "./block-pieces.ts";

/** Two holds of `pool`, from `hold` on. Requires: in % 32 == 0 */
export function quantizedTurned(
  shape: readonly number[],
  dtype: FloatDtype,
  scheme: Scheme,
  key: NoiseKey,
  pool: HoldPool,
  hold: number,
  told?: Told,
): Section {
  const [rows, columns] = shape.slice(-2) as [number, number];
  const matrices = elementCount(shape.slice(0, -2));
  const slabs = rows / BLOCK_SIZE;
  const { elementBytes } = BLOCK_FORMATS[scheme.format];
  const matrixBytes = slabs * columns * elementBytes;
  const elements = () => pool.bytes(hold, matrixBytes);
  const scales = () => pool.bytes(hold + 1, matrices * slabs * columns);
  return {
    pieces: matrices * slabs,
    pieceBytes: () => dtypeBytes(dtype, BLOCK_SIZE * columns),
    *convert(index, bytes) {
      const matrix = Math.floor(index / slabs);
      const slab = index % slabs;
      turnSlab(bytes, matrix, slab);
      if (slab < slabs - 1) return;
      yield elements();
      if (matrix < matrices - 1) return;
      pool.release(hold);
      yield scales();
      pool.release(hold + 1);
    },
  };

  /** The blocks of one slab, each to its place in its row of the turned matrix. */
  function turnSlab(bytes: Uint8Array, matrix: number, slab: number): void {
    const { arena } = kernels();
    arena.scope(() => {
      const slabLength = BLOCK_SIZE * columns;
      const from = arena.allocF32(slabLength);
      loadFloats(from, dtype, bytes);
      const to = arena.allocF32(slabLength);
      turn(arena.f32(from, slabLength), arena.f32(to, slabLength), columns);
      const outRow = (column: number) => matrix * columns + column;
      const place = (column: number) => column * slabs + slab;
      const put = (
        packed: { elements: number; scales: number },
        first: number,
        count: number,
      ) => {
        const codes = arena.u8(packed.elements, count * elementBytes);
        const exponents = arena.u8(packed.scales, count);
        const [all, own] = [elements(), scales()];
        const base = matrix * slabs * columns;
        for (let i = 0; i < count; i++) {
          const at = place(first + i);
          all.set(
            codes.subarray(i * elementBytes, (i + 1) * elementBytes),
            at * elementBytes,
          );
          own[base + at] = exponents[i]!;
        }
      };
      if (scheme.rounding !== "stochastic") {
        const piece = {
          start: 0,
          count: slabLength,
          rows: 1,
          real: slabLength,
        };
        put(pack(to, piece, scheme, key, told), 0, columns);
        return;
      }
      // Noise is counted along the turned rows, where a slab's blocks are no neighbours.
      for (let column = 0; column < columns; column++) {
        arena.scope(() => {
          const start = outRow(column) * rows + slab * BLOCK_SIZE;
          const piece = { start, count: BLOCK_SIZE, rows: 1, real: BLOCK_SIZE };
          const x = to + column * BLOCK_SIZE * 4;
          put(pack(x, piece, scheme, key, told), column, 1);
        });
      }
    });
  }
}

/** f32 [32, columns] to f32 [columns, 32]. */
function turn(from: Float32Array, to: Float32Array, columns: number): void {
  for (let row = 0; row < BLOCK_SIZE; row++) {
    const start = row * columns;
    for (let column = 0; column < columns; column++)
      to[column * BLOCK_SIZE + row] = from[start + column]!;
  }
}
