/** Loads a directory's tensors into panels, by ranges: only a few windows are in memory as floats. */
import { AppError } from "../api/errors.ts";
import type {
  Checkpoint,
  CheckpointTensor,
} from "../checkpoints/checkpoint.ts";
import { checkSame } from "../checkpoints/model-tensors.ts";
import type { Folder, RangedFile } from "../checkpoints/read-heads.ts";
import { readRows } from "../checkpoints/row-reads.ts";
import { dtypeBytes, type FloatDtype, loadFloats } from "../formats/dtype.ts";
import type { WeightFormat } from "../kernels/decode.ts";
import { BLOCK_SIZE } from "../kernels/mx.ts";
import { kernels } from "../kernels/runtime.ts";
import { free } from "../memory/free.ts";
import type { Decoder, WeightTensor } from "../model/decoder.ts";
import { loadBlocks } from "./load-blocks.ts";
import { loadGgml } from "./load-ggml.ts";
import { elements, PanelWeights, sizes } from "./panel-weights.ts";
import { putF32, putMxfp4 } from "./panels.ts";
import { storedTensors } from "./stored-tensors.ts";
import { windows } from "./windows.ts";

/**
 * Tensors stored in MXFP4 keep their codes if the weights are MXFP4. `onWindow` is called for every window. Errors:
 * those of `storedTensors`; `invalid_number` for values that MXFP4 cannot represent
 */
export async function loadWeights(
  folder: Folder,
  checkpoint: Checkpoint,
  decoder: Decoder,
  format: WeightFormat,
  onWindow: () => void = () => {},
): Promise<PanelWeights> {
  const { found, twice } = storedTensors(decoder, checkpoint);
  if (twice) await checkSame(folder, twice);
  const weights = new PanelWeights(decoder, format);
  const files = new Map<string, RangedFile>();
  const open = async ({
    file: name,
  }: Pick<CheckpointTensor, "file">): Promise<RangedFile> => {
    const file = files.get(name) ?? (await folder.open(name));
    files.set(name, file);
    return file;
  };
  try {
    for (const tensor of decoder.tensors) {
      const stored = found.get(tensor.name)!;
      if ("ggml" in stored) {
        const file = await open(stored.ggml);
        await loadGgml(weights, tensor, stored.ggml, file, onWindow);
      } else if ("floats" in stored)
        await loadTensor(weights, tensor, stored.floats, open, onWindow);
      else await loadBlocks(weights, tensor, stored, open, onWindow);
    }
  } catch (error) {
    weights.free();
    throw error;
  }
  return weights;
}

/** A window of a stored tensor's rows, from `first` on. */
type Window = { first: number; rows: number; bytes: Uint8Array };

async function loadTensor(
  weights: PanelWeights,
  asked: WeightTensor,
  floats: CheckpointTensor,
  open: (tensor: CheckpointTensor) => Promise<RangedFile>,
  onWindow: () => void,
): Promise<void> {
  const dtype = floats.dtype as FloatDtype;
  const file = await open(floats);
  const tensor = floats.turned ? turned(asked) : asked;
  const length = tensor.kind === "values" ? 1 : tensor.shape[1]!;
  const rowBytes = dtypeBytes(dtype, length);
  const read = async (first: number, end: number): Promise<Window> => ({
    first,
    rows: end - first,
    bytes: await readRows(file, floats, rowBytes, first, end),
  });
  const rows = elements(tensor) / length;
  for await (const window of windows(rows, rowBytes, read)) {
    onWindow();
    put(weights, tensor, dtype, window);
    free(window.bytes);
  }
}

/** The tensor with rows and columns exchanged, for a file that stores the transpose. */
function turned({ name, kind, shape }: WeightTensor): WeightTensor {
  const other = kind === "rows" ? "columns" : "rows";
  return { name, kind: other, shape: shape.toReversed() };
}

function put(
  weights: PanelWeights,
  { name, kind, shape }: WeightTensor,
  dtype: FloatDtype,
  { first, rows, bytes }: Window,
): void {
  const { arena } = kernels();
  arena.scope(() => {
    const length = bytes.length / dtypeBytes(dtype, 1);
    const x = arena.allocF32(length);
    loadFloats(x, dtype, bytes);
    if (kind === "values") {
      weights.floats(name).set(arena.f32(x, length), first);
      return;
    }
    const panels = weights.matrix(name);
    const width = shape[1]!;
    // The part of the multiplied matrix that this window is.
    const place =
      kind === "rows"
        ? { rows, columns: width, row: first, column: 0 }
        : { rows: width, columns: rows, row: 0, column: first };
    const isTurned = kind === "columns";
    if (weights.format === "f32") putF32(panels, place, x, isTurned);
    else putMxfp4(panels, place, x, isTurned, name);
  });
}

/** Checks sizes before anything is read. Errors: `shape_mismatch` for a matrix that cannot be packed */
export function checkFormat(decoder: Decoder, format: WeightFormat): void {
  if (format === "f32") return;
  for (const tensor of decoder.tensors) {
    if (tensor.kind === "values") continue;
    const { columns } = sizes(tensor);
    if (columns % BLOCK_SIZE !== 0)
      throw new AppError(
        "shape_mismatch",
        `Expected the columns of "${tensor.name}" to be a multiple of ${BLOCK_SIZE} to be packed, got ${columns}; use \`weights\` f32`,
      );
  }
}
