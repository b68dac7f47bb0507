/**
 * Reads a stored tensor in the model's element order, whatever the file's: transposed, with rows of heads
 * interleaved, or in blocks.
 */
import type {
  CheckpointTensor,
  GgmlTensor,
} from "../checkpoints/checkpoint.ts";
import { ggmlFloats, ggmlRowBytes } from "../checkpoints/ggml-floats.ts";
import type { RangedFile } from "../checkpoints/read-heads.ts";
import { readRows } from "../checkpoints/row-reads.ts";
import {
  dtypeBytes,
  type FloatDtype,
  isDtype,
  loadFloats,
} from "../formats/dtype.ts";
import { elementCount, swapped } from "../formats/tensor.ts";
import { kernels } from "../kernels/runtime.ts";
import { free } from "../memory/free.ts";

/** Elements read at a time. */
const WINDOW_ELEMENTS = 64 * 1024;

export type StoredParameter = CheckpointTensor | GgmlTensor;

/** The tensor's shape in the model. */
export function shapeInModel(tensor: StoredParameter): readonly number[] {
  return isBlocks(tensor) && tensor.turned
    ? swapped(tensor.shape)
    : tensor.shape;
}

export function isBlocks(tensor: StoredParameter): tensor is GgmlTensor {
  return !isDtype(tensor.dtype);
}

/**
 * Reads elements [from, to), in the model's order, to `out` f32 [to − from]. Not to be called inside an arena scope.
 * Errors: `invalid_number` if a block holds a NaN or an infinity
 */
export async function readElements(
  file: RangedFile,
  tensor: StoredParameter,
  [from, to]: readonly [from: number, to: number],
  out: Float32Array,
): Promise<void> {
  const shape = shapeInModel(tensor);
  const elements = elementCount(shape);
  // Of a bias whose elements are those of rows that are interleaved, each is one.
  const isOfRows = tensor.headRows !== undefined && shape.length === 1;
  const width = tensor.turned ? shape[0] : shape.at(-1);
  const columns = isOfRows ? 1 : (width ?? 1);
  const rows = elements / columns;
  const rowBytes = isBlocks(tensor)
    ? ggmlRowBytes(tensor.dtype, columns)
    : dtypeBytes(tensor.dtype, columns);
  // If transposed, every row of the file has some of the elements.
  const first = tensor.turned ? 0 : Math.floor(from / columns);
  const end = tensor.turned ? rows : Math.ceil(to / columns);
  const together = Math.max(1, Math.floor(WINDOW_ELEMENTS / columns));
  for (let row = first; row < end; row += together) {
    const until = Math.min(row + together, end);
    const bytes = await readRows(file, tensor, rowBytes, row, until);
    const { arena } = kernels();
    arena.scope(() => {
      const length = (until - row) * columns;
      const x = arena.f32(floatsOf(tensor, bytes, length), length);
      if (tensor.turned) putTurned(out, from, to, x, { row, rows, columns });
      else putRows(out, from, to, x, row * columns);
    });
    free(bytes);
  }
}

/** f32 [length], allocated in the caller's arena scope. */
function floatsOf(tensor: StoredParameter, bytes: Uint8Array, length: number) {
  if (isBlocks(tensor)) return ggmlFloats(tensor.dtype, bytes, tensor.name);
  const x = kernels().arena.allocF32(length);
  loadFloats(x, tensor.dtype as FloatDtype, bytes);
  return x;
}

/** Copies the part of [from, to) that `x` has; `x` begins with element `at`. */
function putRows(
  out: Float32Array,
  from: number,
  to: number,
  x: Float32Array,
  at: number,
): void {
  const own = Math.max(from, at);
  const end = Math.min(to, at + x.length);
  out.set(x.subarray(own - at, end - at), own - from);
}

/**
 * Copies the part of [from, to) that `x` has, transposed. `x` holds the file's rows from `row` on, [count, columns];
 * a row of the file is a column of the model's tensor [columns, rows].
 */
function putTurned(
  out: Float32Array,
  from: number,
  to: number,
  x: Float32Array,
  { row, rows, columns }: { row: number; rows: number; columns: number },
): void {
  const count = x.length / columns;
  const last = Math.ceil(to / rows);
  for (let own = Math.floor(from / rows); own < last; own++) {
    for (let i = 0; i < count; i++) {
      const at = own * rows + row + i;
      if (at >= from && at < to) out[at - from] = x[i * columns + own]!;
    }
  }
}
