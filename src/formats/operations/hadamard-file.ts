/** The blockwise random Hadamard transform of a file's float tensors, forward or back, in f32. */
import { AppError } from "../../api/errors.ts";
import type { SegmentLength } from "../../api/scheme.ts";
import { kernels } from "../../kernels/runtime.ts";
import {
  Conversion,
  OutputBuffer,
  type Section,
} from "../stream/conversion.ts";
import type { FloatDtype } from "../dtype.ts";
import type { Input } from "../containers/input.ts";
import { loadPiece, rotate, rotateBack, storePiece } from "../blocks/mxfp4.ts";
import {
  inputBytes,
  pieceCount,
  pieceOf,
  type Rows,
  rowsOf,
} from "../blocks/rows.ts";
import { writeHead } from "../containers/safetensors-writer.ts";
import {
  arrange,
  copiedTensor,
  droppedTensor,
  FILLER_PREFIX,
} from "../stream/sections.ts";
import { isChosen, type Selection } from "./selection.ts";

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
  input: Input,
  { direction, segmentLength, seed, selection }: HadamardChoices,
): Conversion {
  if (input.container === "gguf") {
    throw new AppError(
      "unsupported_media_type",
      "Expected safetensors, .npy or raw values to rotate, got GGUF, whose readers would not rotate back; rotate the checkpoint that it is made of",
    );
  }
  const { tensors, metadata } = input;
  const turn = direction === "forward" ? rotate : rotateBack;
  const scheme = { prescale: 1, hadamard: segmentLength, seed } as const;
  const parts = tensors.map((tensor) => {
    const { name, shape, start, end } = tensor;
    if (name.startsWith(FILLER_PREFIX)) return droppedTensor(tensor);
    if (!isChosen(tensor, selection)) return copiedTensor(tensor);
    const { dtype } = tensor;
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
  const { heads, sections } = arrange(parts);
  return new Conversion({ ...writeHead(heads, metadata), sections });
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
