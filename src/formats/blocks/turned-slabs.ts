/**
 * Transposes a weight stored [in, out], or experts [E, in, out], to [out, in]: it arrives in slabs of 32 rows, whose
 * columns become blocks.
 */
import type { Pointer } from "../../kernels/arena.ts";
import { transpose } from "../../kernels/matmul.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { kernels } from "../../kernels/runtime.ts";
import { dtypeBytes, type FloatDtype, loadFloats } from "../dtype.ts";
import { elementCount } from "../tensor.ts";
import type { Piece } from "./block-rows.ts";

export class TurnedSlabs {
  readonly matrices: number;
  /** Slabs per matrix; the last may have fewer rows. */
  readonly slabs: number;
  readonly columns: number;
  readonly #rows: number;
  readonly #dtype: FloatDtype;

  constructor(shape: readonly number[], dtype: FloatDtype) {
    [this.#rows, this.columns] = shape.slice(-2) as [number, number];
    this.matrices = elementCount(shape.slice(0, -2));
    this.slabs = Math.ceil(this.#rows / BLOCK_SIZE);
    this.#dtype = dtype;
  }

  get pieces(): number {
    return this.matrices * this.slabs;
  }

  pieceBytes(index: number): number {
    return dtypeBytes(this.#dtype, this.height(index) * this.columns);
  }

  /** The matrix and slab of a piece. */
  place(index: number): { matrix: number; slab: number } {
    return {
      matrix: Math.floor(index / this.slabs),
      slab: index % this.slabs,
    };
  }

  /** Rows of a piece: the number of elements of each transposed row. */
  height(index: number): number {
    const first = this.place(index).slab * BLOCK_SIZE;
    return Math.min(BLOCK_SIZE, this.#rows - first);
  }

  /**
   * Passes the transposed rows of a piece to `use`, f32 [columns, height], all at once; or one by one, if noise,
   * which is counted along the transposed matrix, needs each row's own start. Inside an arena scope.
   */
  turn(
    index: number,
    bytes: Uint8Array,
    oneByOne: boolean,
    use: (x: Pointer, piece: Piece, firstColumn: number) => void,
  ): void {
    const { arena } = kernels();
    const { columns } = this;
    const height = this.height(index);
    const { matrix, slab } = this.place(index);
    arena.scope(() => {
      const length = height * columns;
      const from = arena.allocF32(length);
      loadFloats(from, this.#dtype, bytes);
      const to = arena.allocF32(length);
      transpose(to, from, height, columns);
      if (!oneByOne) {
        use(to, { start: 0, count: length, rows: 1, real: length }, 0);
        return;
      }
      for (let column = 0; column < columns; column++) {
        const row = matrix * columns + column;
        const start = row * this.#rows + slab * BLOCK_SIZE;
        const piece = { start, count: height, rows: 1, real: height };
        arena.scope(() => use(to + column * height * 4, piece, column));
      }
    });
  }
}
