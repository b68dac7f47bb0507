/** The sections that convert a tensor of a checkpoint to one of a GGUF. */
import type { Scheme } from "../../api/scheme.ts";
import { roundingKey } from "../../formats/blocks/block-pieces.ts";
import { checkSize, oneRow, rowsOf } from "../../formats/blocks/block-rows.ts";
import { layoutOf } from "../../formats/blocks/block-layouts.ts";
import { type Watch, watched } from "../../formats/blocks/nonfinite.ts";
import { watchedCopy } from "../../formats/blocks/watched-copy.ts";
import {
  interleaved,
  pairSource,
} from "../../formats/blocks/packed-sections.ts";
import {
  converted,
  floatBlocks,
  ggmlBlocks,
  type PieceWriter,
  Q8_BLOCKS,
} from "../../formats/blocks/quantized-sections.ts";
import { convertedTurned } from "../../formats/blocks/turned-sections.ts";
import { ggufTensor } from "../../formats/containers/gguf-file.ts";
import { ggufTensorBytes } from "../../formats/containers/gguf-types.ts";
import type { DecodedDtype, FloatDtype } from "../../formats/dtype.ts";
import type { NoiseKey } from "../../kernels/noise.ts";
import {
  type OpenSection,
  type Section,
} from "../../formats/stream/conversion.ts";
import { bytesOfRuns } from "../../formats/stream/file-range.ts";
import { HoldPool } from "../../formats/stream/hold-pool.ts";
import { copied, kept } from "../../formats/stream/tensor-sections.ts";
import { swapped } from "../../formats/tensor.ts";
import { scaledSections } from "../float8-parts.ts";
import { changed } from "./changes.ts";
import type { DecidedTensor } from "./decide-gguf.ts";
import { LOADED_FORMAT } from "../targets.ts";

export function sectionsOf(
  tensor: DecidedTensor,
  place: number,
  scheme: Scheme,
  pool: HoldPool,
  watch: Watch | undefined,
): OpenSection[] {
  const { name, shape, dtype, becomes, turned, change, float8 } = tensor;
  const bytes = tensor.reads.map(bytesOfRuns);
  const rows = rowsOf(shape, 0);
  checkSize(name, rows);
  if (dtype === "MXFP4") {
    const [first, second] = bytes as [number, number?];
    if (second === undefined) return [() => copied(first)];
    const hold = { pool, index: 2 * place, bytes: first };
    const layout = layoutOf("gguf", LOADED_FORMAT);
    return [
      () => kept(first, pool, 2 * place),
      () =>
        interleaved(
          { name, shape, rows },
          pairSource({ layout }, hold, false),
          watch,
        ),
    ];
  }
  const isAsItIs = becomes === dtype && !turned && change === undefined;
  if (isAsItIs && !float8) {
    const whole = { name, shape, dtype, start: 0, end: bytes[0]! };
    return [() => watchedCopy(whole, watch)];
  }
  const writer = writerOf(becomes, scheme, roundingKey(scheme.seed, place));
  return writtenBy(tensor, writer, pool, 2 * place, watch);
}

/** Converts floats or FP8 with `writer`. Uses two holds of `pool`, from index `hold` on. */
export function writtenBy(
  tensor: DecidedTensor,
  writer: PieceWriter,
  pool: HoldPool,
  hold: number,
  watch?: Watch,
): OpenSection[] {
  const { float8, reads } = tensor;
  const dtype = float8 ? "F32" : (tensor.dtype as FloatDtype);
  const inner = () => floatsWritten(tensor, dtype, writer, pool, hold, watch);
  if (!float8) return [inner];
  return scaledSections(float8, bytesOfRuns(reads[0]!), pool, hold + 1, inner);
}

function floatsWritten(
  { name, shape, becomes, turned, change }: DecidedTensor,
  dtype: FloatDtype,
  writer: PieceWriter,
  pool: HoldPool,
  hold: number,
  watch: Watch | undefined,
): Section {
  const rows = rowsOf(shape, 0);
  const write = change === undefined ? writer : changed(writer, change);
  const isBlocks = becomes === "MXFP4" || becomes === "Q8_0";
  const types = isBlocks
    ? { reads: dtype }
    : { reads: dtype, writes: becomes as DecodedDtype };
  if (turned) {
    const stored = swapped(shape);
    return watched({ name, shape: stored }, types, watch, (lost) =>
      convertedTurned(stored, dtype, write, pool, hold, lost),
    );
  }
  const cut = isBlocks ? rows : oneRow(shape);
  return watched({ name, shape }, types, watch, (lost) =>
    converted(cut, dtype, write, lost),
  );
}

/** Bytes held for a tensor: a matrix to transpose, and scales until their elements arrive. */
export function heldOf(tensor: DecidedTensor): number {
  const { name, shape, becomes, turned, reads } = tensor;
  const matrix = { name, shape: shape.slice(-2), dtype: becomes };
  const scales = reads.length > 1 ? bytesOfRuns(reads[0]!) : 0;
  return scales + (turned ? ggufTensorBytes(ggufTensor(matrix)) : 0);
}

function writerOf(
  becomes: DecidedTensor["becomes"],
  scheme: Scheme,
  key: NoiseKey,
): PieceWriter {
  if (becomes === "MXFP4") return ggmlBlocks(scheme, key);
  if (becomes === "Q8_0") return Q8_BLOCKS;
  return floatBlocks(becomes as DecodedDtype);
}
