/**
 * Sections of a conversion that fold tensors: to floats of their own dtype, or to blocks. A piece is a slab of rows,
 * with whole segments of those rotated along the columns, so memory does not depend on the tensor's size.
 */
import type { Scheme } from "../../api/scheme.ts";
import type { Pointer } from "../../kernels/arena.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import type { NoiseKey } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { PieceListeners } from "../blocks/block-pieces.ts";
import type { Lost } from "../blocks/nonfinite.ts";
import {
  type PieceWriter,
  quantizedFloats,
} from "../blocks/quantized-sections.ts";
import {
  type DecodedDtype,
  dtypeBytes,
  loadFloats,
  overflows,
  storeFloats,
} from "../dtype.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import { elementCount } from "../tensor.ts";
import type { Fold } from "./fold-plan.ts";
import { foldRows } from "./fold-rows.ts";

/** Elements of a slab, or one segment of rows if that is more. */
const SLAB_LENGTH = 1 << 16;

/** A 1-D tensor is one row. */
export type FoldedTensor = {
  shape: readonly number[];
  dtype: DecodedDtype;
  fold: Fold;
  /** Seed of the rotation's signs. */
  seed: number;
  /** f32 [columns]: the factors of the norm `fold.norm`. */
  norm: Float32Array | undefined;
};

type Slab = { start: number; count: number };

/** Outputs a slab, f32 [count] from element `start` on. Inside `arena.scope`. */
type Finish = (x: Pointer, slab: Slab) => Uint8Array;

function folded(
  { shape, dtype, fold, seed, norm }: FoldedTensor,
  finish: Finish,
): Section {
  const columns = shape.at(-1)!;
  const rows = elementCount(shape.slice(0, -1));
  const segment = fold.rows ?? 1;
  const segments = Math.max(1, Math.floor(SLAB_LENGTH / (segment * columns)));
  const slabRows = segment * segments;
  const rowsIn = (index: number) => Math.min(slabRows, rows - index * slabRows);
  return {
    pieces: Math.ceil(rows / slabRows),
    pieceBytes: (index) => dtypeBytes(dtype, rowsIn(index) * columns),
    convert(index, bytes) {
      const { arena } = kernels();
      const count = rowsIn(index) * columns;
      return [
        arena.scope(() => {
          const x = arena.allocF32(count);
          loadFloats(x, dtype, bytes);
          foldRows(x, rowsIn(index), columns, fold, seed, norm);
          return finish(x, { start: index * slabRows * columns, count });
        }),
      ];
    },
  };
}

/** Folds to the tensor's own dtype. */
export function foldedFloats(tensor: FoldedTensor, lost?: Lost): Section {
  const out = new OutputBuffer();
  const { dtype } = tensor;
  const finish: Finish = (x, { count }) => {
    if (lost && overflows(dtype, x, count)) lost();
    return storeFloats(dtype, x, count, out.take(dtypeBytes(dtype, count)));
  };
  return { ...folded(tensor, finish), release: () => out.release() };
}

/** Folds and writes with `write`. Requires: columns % 32 == 0 */
export function foldedWritten(
  tensor: FoldedTensor,
  { write }: Pick<PieceWriter, "write">,
): Section {
  return folded(tensor, (x, { start, count }) =>
    write(x, { start, count, rows: 1, real: count }),
  );
}

/** Requires: columns % 32 == 0 */
export function foldedBlocks(
  tensor: FoldedTensor,
  scheme: Scheme,
  key: NoiseKey,
  pool: HoldPool,
  index: number,
  told?: PieceListeners,
): Section {
  return quantizedFloats(
    (write) => foldedWritten(tensor, { write }),
    scheme,
    key,
    { pool, index, bytes: elementCount(tensor.shape) / BLOCK_SIZE },
    told,
  );
}
