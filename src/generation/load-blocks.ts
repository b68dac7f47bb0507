/** Loads a matrix stored in MXFP4 into panels: its codes and scales unchanged, or dequantized to f32. */
import { AppError } from "../api/errors.ts";
import type { CheckpointTensor } from "../checkpoints/checkpoint.ts";
import type { RangedFile } from "../checkpoints/read-heads.ts";
import type { Pointer } from "../kernels/arena.ts";
import { dequantizeMxfp4 } from "../kernels/mxfp4.ts";
import { BLOCK_SIZE } from "../kernels/mx.ts";
import { kernels } from "../kernels/runtime.ts";
import { free } from "../memory/free.ts";
import type { WeightTensor } from "../model/decoder.ts";
import { BLOCK_BYTES, putBlocks, putF32 } from "./panels.ts";
import { type PanelWeights, sizes } from "./panel-weights.ts";
import { windows } from "./windows.ts";

const NAN_SCALE = 255;

/** A window of rows from `first` on. */
type Window = {
  first: number;
  rows: number;
  codes: Uint8Array;
  scales: Uint8Array;
};

/** `onWindow` is called for every window. Errors: `invalid_number` if a block holds a NaN */
export async function loadBlocks(
  weights: PanelWeights,
  tensor: WeightTensor,
  {
    elements,
    scales,
  }: { elements: CheckpointTensor; scales: CheckpointTensor },
  open: (tensor: CheckpointTensor) => Promise<RangedFile>,
  onWindow: () => void,
): Promise<void> {
  const { rows, columns } = sizes(tensor);
  const blocks = columns / BLOCK_SIZE;
  const files = [await open(elements), await open(scales)] as const;
  const read = async (first: number, end: number): Promise<Window> => {
    const part = ({ start }: CheckpointTensor, rowBytes: number) =>
      [start + first * rowBytes, start + end * rowBytes] as const;
    const [codes, itsScales] = await Promise.all([
      files[0].read(...part(elements, blocks * BLOCK_BYTES)),
      files[1].read(...part(scales, blocks)),
    ]);
    return { first, rows: end - first, codes, scales: itsScales };
  };
  for await (const window of windows(rows, blocks * (BLOCK_BYTES + 1), read)) {
    onWindow();
    const { arena } = kernels();
    arena.scope(() => {
      const [codes, itsScales] = [window.codes, window.scales].map((bytes) =>
        arena.copyIn(bytes),
      ) as [Pointer, Pointer];
      putCodes(weights, tensor.name, { ...window, columns }, codes, itsScales);
    });
    free(window.codes);
    free(window.scales);
  }
}

/** Called inside an arena scope. Errors: `invalid_number` if a block holds a NaN */
export function putCodes(
  weights: PanelWeights,
  name: string,
  { first, rows, columns }: { first: number; rows: number; columns: number },
  elements: Pointer,
  scales: Pointer,
): void {
  const { arena } = kernels();
  if (arena.u8(scales, (rows * columns) / BLOCK_SIZE).includes(NAN_SCALE))
    throw new AppError(
      "invalid_number",
      `Expected finite values in "${name}", got a block of a NaN`,
    );
  const panels = weights.matrix(name);
  const place = { rows, columns, row: first, column: 0 };
  if (weights.format === "mxfp4") {
    putBlocks(panels, place, elements, scales);
    return;
  }
  const x = arena.allocF32(rows * columns);
  dequantizeMxfp4(x, elements, scales, rows * columns, 1);
  putF32(panels, place, x, false);
}
