/** A tensor in ggml's blocks, where weights are: of MXFP4 its codes and scales as they are, or what blocks stand for. */
import { AppError } from "../api/errors.ts";
import type { GgmlTensor } from "../checkpoints/checkpoint.ts";
import type { RangedFile } from "../checkpoints/read-heads.ts";
import { readRows } from "../checkpoints/row-reads.ts";
import { fromGgml } from "../formats/blocks/block-pieces.ts";
import type { Pointer } from "../kernels/arena.ts";
import { BLOCK_SIZE } from "../kernels/mx.ts";
import { dequantizeMxfp4, GGML_BLOCK_BYTES } from "../kernels/mxfp4.ts";
import { Q8_BLOCK_BYTES } from "../kernels/q8.ts";
import { kernels } from "../kernels/runtime.ts";
import { decodeF16 } from "../kernels/vector.ts";
import { free } from "../memory/free.ts";
import type { WeightTensor } from "../model/decoder.ts";
import { putCodes } from "./load-blocks.ts";
import { elements, type PanelWeights, sizes } from "./panel-weights.ts";
import { putF32, putMxfp4 } from "./panels.ts";
import { windows } from "./windows.ts";

const BYTES = { MXFP4: GGML_BLOCK_BYTES, Q8_0: Q8_BLOCK_BYTES } as const;
const SCALE_BYTES = 2;

/** Rows from `first` on. */
type Window = { first: number; rows: number; bytes: Uint8Array };

/** `onWindow` is told of every window. Errors: `invalid_number`, a block holds a NaN or an infinity */
export async function loadGgml(
  weights: PanelWeights,
  tensor: WeightTensor,
  ggml: GgmlTensor,
  file: RangedFile,
  onWindow: () => void,
): Promise<void> {
  const isPlain = tensor.kind === "values";
  const columns = isPlain ? tensor.shape.at(-1)! : sizes(tensor).columns;
  const rows = elements(tensor) / columns;
  const rowBytes = (columns / BLOCK_SIZE) * BYTES[ggml.dtype];
  const read = async (first: number, end: number): Promise<Window> => ({
    first,
    rows: end - first,
    bytes: await readRows(file, ggml, rowBytes, first, end),
  });
  for await (const window of windows(rows, rowBytes, read)) {
    onWindow();
    kernels().arena.scope(() => put(weights, tensor, ggml.dtype, window, columns)); // prettier-ignore
    free(window.bytes);
  }
}

function put(
  weights: PanelWeights,
  { name, kind }: WeightTensor,
  dtype: GgmlTensor["dtype"],
  { first, rows, bytes }: Window,
  columns: number,
): void {
  if (kind === "values") {
    const x = dtype === "MXFP4" ? fromMxfp4(bytes) : fromQ8(bytes, name);
    const values = kernels().arena.f32(x, rows * columns);
    weights.floats(name).set(values, first * columns);
    return;
  }
  if (dtype === "MXFP4") {
    const packed = fromGgml(bytes);
    const part = { first, rows, columns };
    putCodes(weights, name, part, packed.elements, packed.scales);
    return;
  }
  const place = { rows, columns, row: first, column: 0 };
  const x = fromQ8(bytes, name);
  const panels = weights.matrix(name);
  if (weights.format === "f32") putF32(panels, place, x, false);
  else putMxfp4(panels, place, x, false, name);
}

function fromMxfp4(bytes: Uint8Array): Pointer {
  const packed = fromGgml(bytes);
  const length = (bytes.length / GGML_BLOCK_BYTES) * BLOCK_SIZE;
  const x = kernels().arena.allocF32(length);
  dequantizeMxfp4(x, packed.elements, packed.scales, length, 1);
  return x;
}

/** What blocks {scale f16, 32 elements i8} stand for: products that f32 holds. */
function fromQ8(bytes: Uint8Array, name: string): Pointer {
  const { arena } = kernels();
  const blocks = bytes.length / Q8_BLOCK_BYTES;
  const halves = new Uint8Array(SCALE_BYTES * blocks);
  for (let block = 0; block < blocks; block++) {
    const at = block * Q8_BLOCK_BYTES;
    halves.set(bytes.subarray(at, at + SCALE_BYTES), SCALE_BYTES * block);
  }
  const out = arena.allocF32(blocks * BLOCK_SIZE);
  const scales = arena.allocF32(blocks);
  decodeF16(scales, arena.copyIn(halves), blocks);
  // Views of memory that nothing grows any more.
  const [x, factors] = [
    arena.f32(out, blocks * BLOCK_SIZE),
    arena.f32(scales, blocks),
  ];
  const codes = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let block = 0; block < blocks; block++) {
    const factor = factors[block]!;
    if (!Number.isFinite(factor)) throw notFinite(name);
    const at = block * Q8_BLOCK_BYTES + SCALE_BYTES;
    for (let i = 0; i < BLOCK_SIZE; i++)
      x[block * BLOCK_SIZE + i] = factor * codes[at + i]!;
  }
  return out;
}

function notFinite(name: string): AppError {
  return new AppError(
    "invalid_number",
    `Expected finite values in "${name}", got a block whose scale is none`,
  );
}
