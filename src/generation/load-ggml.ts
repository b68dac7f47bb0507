/**
 * Loads a tensor stored in ggml's blocks: MXFP4 codes and scales unchanged if the weights are MXFP4, otherwise
 * dequantized.
 */
import type { GgmlTensor } from "../checkpoints/checkpoint.ts";
import { ggmlFloats, ggmlRowBytes } from "../checkpoints/ggml-floats.ts";
import type { RangedFile } from "../checkpoints/read-heads.ts";
import { readRows } from "../checkpoints/row-reads.ts";
import { fromGgml } from "../formats/blocks/block-pieces.ts";
import { kernels } from "../kernels/runtime.ts";
import { free } from "../memory/free.ts";
import type { WeightTensor } from "../model/decoder.ts";
import { putCodes } from "./load-blocks.ts";
import { elements, type PanelWeights, sizes } from "./panel-weights.ts";
import { putF32, putMxfp4 } from "./panels.ts";
import { windows } from "./windows.ts";

/** A window of rows from `first` on. */
type Window = { first: number; rows: number; bytes: Uint8Array };

/** `onWindow` is called for every window. Errors: `invalid_number` if a block holds a NaN or an infinity */
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
  const rowBytes = ggmlRowBytes(ggml.dtype, columns);
  const read = async (first: number, end: number): Promise<Window> => ({
    first,
    rows: end - first,
    bytes: await readRows(file, ggml, rowBytes, first, end),
  });
  for await (const window of windows(rows, rowBytes, read)) {
    onWindow();
    kernels().arena.scope(() =>
      put(weights, tensor, ggml.dtype, window, columns),
    );
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
    const x = ggmlFloats(dtype, bytes, name);
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
  const x = ggmlFloats(dtype, bytes, name);
  const panels = weights.matrix(name);
  if (weights.format === "f32") putF32(panels, place, x, false);
  else putMxfp4(panels, place, x, false, name);
}
