/** The blockwise random Hadamard transform of a file's float tensors, forward or back, in f32. */
import { AppError } from "../../api/errors.ts";
import type { SegmentLength } from "../../api/scheme.ts";
import { kernels } from "../../kernels/runtime.ts";
import {
  loadPiece,
  rotate,
  rotateBack,
  storePiece,
} from "../blocks/block-pieces.ts";
import {
  inputBytes,
  pieceCount,
  pieceOf,
  type Rows,
  rowsOf,
} from "../blocks/block-rows.ts";
import { type TensorFile, withoutGguf } from "../containers/container.ts";
import type { FloatDtype } from "../dtype.ts";
import {
  type Conversion,
  OutputBuffer,
  type Section,
} from "../stream/conversion.ts";
import { copiedTensor } from "../stream/tensor-sections.ts";
import type { Selection } from "./name-patterns.ts";
import { chooseAll } from "./selection-rules.ts";

export type HadamardChoices = {
  direction: "forward" | "inverse";
  segmentLength: SegmentLength;
  seed: number;
  selection: Selection;
};

/**
 * Chosen float tensors, rotated, in f32; the rest as it came.
 * Errors: `shape_mismatch`, `unsupported_dtype`, `name_collision`; `unsupported_media_type` for GGUF: its
 * readers know of no rotation, so what they would load is another model
 */
export function planHadamard(
  file: TensorFile,
  { direction, segmentLength, seed, selection }: HadamardChoices,
): Conversion {
  withoutGguf(
    file,
    "to rotate",
    ", whose readers would not rotate back; rotate the checkpoint that it is made of",
  );
  const turn = direction === "forward" ? rotate : rotateBack;
  const scheme = { prescale: 1, hadamard: segmentLength, seed } as const;
  const all = chooseAll(file, selection, "rotate");
  const tensors = file.tensors.map((tensor, i) => {
    const chosen = all[i];
    if (chosen === undefined) return copiedTensor(tensor);
    const { name, dtype, shape, start, end } = chosen.tensor;
    const rows = rowsOf(shape, segmentLength);
    if (rows.k % segmentLength !== 0) {
      throw new AppError(
        "shape_mismatch",
        `Expected the last dimension of tensor "${name}" to be a multiple of ${segmentLength}, got ${rows.k} of [${shape.join(", ")}]`,
      );
    }
    // Whole segments, which 16 makes of 16 values, need no padding to blocks.
    const whole = { ...rows, padded: rows.k };
    const open = () =>
      turned(whole, dtype, (x, count) => turn(x, count, scheme));
    const heads = [{ name, dtype: "F32" as const, shape }];
    return { bytes: end - start, open, heads };
  });
  return file.target.write(file, { tensors, keeps: () => true });
}

function turned(
  rows: Rows,
  dtype: FloatDtype,
  turn: (x: number, count: number) => void,
): Section {
  const out = new OutputBuffer();
  return {
    release: () => out.release(),
    pieces: pieceCount(rows),
    pieceBytes: (index) => inputBytes(rows, index, dtype),
    convert(index, bytes) {
      const piece = pieceOf(rows, index);
      return [
        kernels().arena.scope(() => {
          const x = loadPiece(bytes, dtype, piece);
          turn(x, piece.count);
          return storePiece(x, piece, "F32", out);
        }),
      ];
    },
  };
}
