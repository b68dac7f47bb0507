/** A directory's tensors to panels, read by ranges and packed on the way: no more than windows of them are there as floats. */
import { AppError } from "../api/errors.ts";
import {
  type CheckpointTensor,
  isOptimizers,
} from "../checkpoints/checkpoint.ts";
import type { Folder, RangedFile } from "../checkpoints/read-heads.ts";
import {
  dtypeBytes,
  type FloatDtype,
  isFloat,
  loadFloats,
} from "../formats/dtype.ts";
import type { Pointer } from "../kernels/arena.ts";
import {
  PANEL_ROWS,
  packPanelF32,
  packPanelMxfp4,
  panelBytes,
  type WeightFormat,
} from "../kernels/decode.ts";
import { transpose } from "../kernels/matmul.ts";
import { type Quantizer, quantizeMxfp4 } from "../kernels/mxfp4.ts";
import { kernels } from "../kernels/runtime.ts";
import type { Decoder, WeightTensor } from "../model/decoder.ts";
import { elements, type Panels, PanelWeights, sizes } from "./panel-weights.ts";

/** Read at a time, but for whole rows. */
const WINDOW_BYTES = 1 << 20;
const BLOCK_SIZE = 32;
/** Bytes of a packed block: codes, and its scale. */
const CODE_BYTES = 16;
const NAN_SCALE = 255;
/** As files are quantized unless told otherwise. */
const PACKING: Quantizer = {
  rounding: { mode: "nearest-even" },
  scale: "even",
  prescale: 1,
};

/**
 * `onWindow` is told of every window. Errors: `shape_mismatch`, `unsupported_dtype`, `invalid_config` for tensors that are not
 * the decoder's; `invalid_number` for values that MXFP4 has not
 */
export async function loadWeights(
  folder: Folder,
  tensors: readonly CheckpointTensor[],
  decoder: Decoder,
  format: WeightFormat,
  onWindow: () => void = () => {},
): Promise<PanelWeights> {
  const found = tensorsOf(decoder, tensors);
  const weights = new PanelWeights(decoder, format);
  const files = new Map<string, RangedFile>();
  try {
    for (const tensor of decoder.tensors) {
      const stored = found.get(tensor.name)!;
      const { file: name } = stored;
      const file = files.get(name) ?? (await folder.open(name));
      files.set(name, file);
      for await (const window of windowsOf(file, stored, tensor)) {
        onWindow();
        put(weights, tensor, stored.dtype as FloatDtype, window);
      }
    }
  } catch (error) {
    weights.free();
    throw error;
  }
  return weights;
}

/** The stored tensor of each that the decoder has, by the decoder's names. */
function tensorsOf(
  decoder: Decoder,
  tensors: readonly CheckpointTensor[],
): Map<string, CheckpointTensor> {
  const { prefix, notRead } = decoder;
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const found = new Map<string, CheckpointTensor>();
  for (const { name, shape } of decoder.tensors) {
    const bare = name.startsWith(prefix) ? name.slice(prefix.length) : name;
    const stored = byName.get(name) ?? byName.get(bare);
    if (stored?.shape.join() !== shape.join())
      throw new AppError(
        "shape_mismatch",
        `Expected "${name}" of [${shape.join(", ")}], got ${stored ? `[${stored.shape.join(", ")}]` : "none"}`,
      );
    if (!isFloat(stored.dtype))
      throw new AppError(
        "unsupported_dtype",
        `Expected "${name}" of floats, got ${stored.dtype}: what is quantized is dequantized first`,
      );
    found.set(name, stored);
    byName.delete(stored.name);
  }
  const [other] = [...byName.keys()].filter(
    (name) => !notRead.test(name) && !isOptimizers(name),
  );
  if (other === undefined) return found;
  throw new AppError(
    "invalid_config",
    `Expected the tensors that config.json tells of, got "${other}" too`,
  );
}

/** Rows of a stored tensor from `first` on. */
type Window = { first: number; rows: number; bytes: Uint8Array };

/** One read ahead. Whole panels of a matrix by rows, whole blocks of one by columns. */
async function* windowsOf(
  file: RangedFile,
  { start, dtype }: CheckpointTensor,
  tensor: WeightTensor,
): AsyncGenerator<Window> {
  const length = tensor.kind === "values" ? 1 : tensor.shape[1]!;
  const rows = elements(tensor) / length;
  const rowBytes = dtypeBytes(dtype, length);
  const step = tensor.kind === "values" ? 1 : BLOCK_SIZE;
  const together =
    Math.max(1, Math.floor(WINDOW_BYTES / rowBytes / step)) * step;
  const read = (first: number): Promise<Window> | undefined => {
    if (first >= rows) return undefined;
    const end = Math.min(first + together, rows);
    const window = file
      .read(start + rowBytes * first, start + rowBytes * end)
      .then((bytes) => ({ first, rows: end - first, bytes }));
    // Awaited in its turn; it may fail before.
    window.catch(() => {});
    return window;
  };
  let next = read(0);
  while (next) {
    const window = await next;
    next = read(window.first + window.rows);
    yield window;
  }
}

function put(
  weights: PanelWeights,
  tensor: WeightTensor,
  dtype: FloatDtype,
  { first, rows, bytes }: Window,
): void {
  const { arena } = kernels();
  const { name, kind, shape } = tensor;
  arena.scope(() => {
    const length = bytes.length / dtypeBytes(dtype, 1);
    const x = arena.allocF32(length);
    loadFloats(x, dtype, bytes);
    if (kind === "values") {
      weights.floats(name).set(arena.f32(x, length), first);
      return;
    }
    const panels = weights.matrix(name);
    const { format } = weights;
    const width = shape[1]!;
    // Rows and columns of the matrix that is multiplied, of which this is a part.
    const part =
      kind === "rows"
        ? { x, rows, columns: width, row: first, column: 0 }
        : { x, rows: width, columns: rows, row: 0, column: first };
    const isTurned = kind === "columns";
    if (format === "f32") putF32(panels, part, isTurned);
    else putMxfp4(panels, part, isTurned, tensor);
  });
}

/** A part of a matrix from (row, column) on. */
type Part = {
  x: Pointer;
  rows: number;
  columns: number;
  row: number;
  column: number;
};

function putF32(panels: Panels, part: Part, isTurned: boolean): void {
  const { x, rows, columns } = part;
  const { arena } = kernels();
  arena.scope(() => {
    const panel = arena.allocF32(columns * PANEL_ROWS);
    for (let row = 0; row < rows; row += PANEL_ROWS) {
      const [rowStride, columnStride] = isTurned ? [1, rows] : [columns, 1];
      const count = Math.min(PANEL_ROWS, rows - row);
      const from = x + 4 * row * rowStride;
      packPanelF32(panel, from, count, columns, rowStride, columnStride);
      const at =
        placeOf(panels, "f32", part, row) + 4 * PANEL_ROWS * part.column;
      panels.bytes.set(arena.u8(panel, 4 * columns * PANEL_ROWS), at);
    }
  });
}

function putMxfp4(
  panels: Panels,
  part: Part,
  isTurned: boolean,
  tensor: WeightTensor,
): void {
  const { x, rows, columns } = part;
  const { arena } = kernels();
  arena.scope(() => {
    let byRows = x;
    if (isTurned) {
      byRows = arena.allocF32(rows * columns);
      transpose(byRows, x, columns, rows);
    }
    const blocks = columns / BLOCK_SIZE;
    const codes = arena.alloc(rows * blocks * CODE_BYTES);
    const scales = arena.alloc(rows * blocks);
    quantizeMxfp4(codes, scales, byRows, rows * columns, PACKING);
    if (arena.u8(scales, rows * blocks).includes(NAN_SCALE))
      throw new AppError(
        "invalid_number",
        `Expected finite values in "${tensor.name}", got a NaN or an infinity`,
      );
    const partBytes = panelBytes("mxfp4", columns);
    const panel = arena.alloc(partBytes);
    for (let row = 0; row < rows; row += PANEL_ROWS) {
      const count = Math.min(PANEL_ROWS, rows - row);
      const [from, itsScales] = [row * blocks * CODE_BYTES, row * blocks];
      packPanelMxfp4(panel, 0, codes + from, scales + itsScales, count, blocks);
      const before = part.column === 0 ? 0 : panelBytes("mxfp4", part.column);
      const at = placeOf(panels, "mxfp4", part, row) + before;
      panels.bytes.set(arena.u8(panel, partBytes), at);
    }
  });
}

/** Where the panel of a part's row begins. */
function placeOf(
  { columns }: Panels,
  format: WeightFormat,
  part: Part,
  row: number,
): number {
  return ((part.row + row) / PANEL_ROWS) * panelBytes(format, columns);
}

/** Of a matrix's sizes, so that what cannot be packed is refused before anything is read. Errors: `shape_mismatch` */
export function checkFormat(decoder: Decoder, format: WeightFormat): void {
  if (format === "f32") return;
  for (const tensor of decoder.tensors) {
    if (tensor.kind === "values") continue;
    const { columns } = sizes(tensor);
    if (columns % BLOCK_SIZE !== 0)
      throw new AppError(
        "shape_mismatch",
        `Expected the columns of "${tensor.name}" to be a multiple of ${BLOCK_SIZE} to be packed, got ${columns}; \`weights\` f32 takes it`,
      );
  }
}
