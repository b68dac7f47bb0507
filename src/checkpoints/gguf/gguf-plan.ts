/**
 * A model's directory as one GGUF. A tensor's bytes depend on its values, the options and its place among the
 * GGUF's names; never on how the checkpoint's files are cut.
 */
import type { Scheme } from "../../api/scheme.ts";
import { roundingKey } from "../../formats/blocks/block-pieces.ts";
import {
  checkSize,
  type Rows,
  rowsOf,
} from "../../formats/blocks/block-rows.ts";
import { layoutOf } from "../../formats/blocks/block-layouts.ts";
import { type Watch, watched } from "../../formats/blocks/nonfinite.ts";
import { watchedCopy } from "../../formats/blocks/watched-copy.ts";
import {
  interleaved,
  pairSource,
} from "../../formats/blocks/packed-sections.ts";
import {
  ggufRecords,
  nonfiniteRecord,
  writeScheme,
} from "../../formats/blocks/quantization-record.ts";
import {
  converted,
  floatBlocks,
  ggmlBlocks,
  type PieceWriter,
  Q8_BLOCKS,
} from "../../formats/blocks/quantized-sections.ts";
import { convertedTurned } from "../../formats/blocks/turned-sections.ts";
import { checkScheme } from "../../formats/blocks/block-formats.ts";
import { ggufTensor, typePairs } from "../../formats/containers/gguf-file.ts";
import {
  paddingAfter,
  ggufTensorBytes,
  DEFAULT_ALIGNMENT,
} from "../../formats/containers/gguf-types.ts";
import {
  encodePair,
  type GgufValue,
  writeGgufHead,
} from "../../formats/containers/gguf-writer.ts";
import type { DecodedDtype, FloatDtype } from "../../formats/dtype.ts";
import { checkPlain } from "../../formats/operations/quantize-file.ts";
import { mostOf } from "../../formats/operations/most-of.ts";
import type { ValueWatch } from "../../formats/operations/nonfinite-values.ts";
import { nothingTo } from "../../formats/operations/nothing-done.ts";
import type { NoiseKey } from "../../kernels/noise.ts";
import {
  Conversion,
  type OpenSection,
  type Section,
} from "../../formats/stream/conversion.ts";
import { runBytes } from "../../formats/stream/file-range.ts";
import { HoldPool } from "../../formats/stream/hold-pool.ts";
import {
  after,
  before,
  copied,
  kept,
} from "../../formats/stream/tensor-sections.ts";
import { elementCount, type TensorHead } from "../../formats/tensor.ts";
import type { TensorRead } from "../tensor-reads.ts";
import { changed } from "./changes.ts";
import type { DecidedGguf, DecidedTensor, GgufChoices } from "./decide-gguf.ts";
import { scaledSections } from "./float8-source.ts";
import type { Pairs } from "./hyperparameters.ts";
import { LOADED_FORMAT } from "../targets.ts";

export type GgufPlan = {
  /** What `conversion` takes, in order. */
  reads: readonly TensorRead[];
  /** Of the whole file. */
  totalBytes: number;
  /** What is held in memory for the plan's sake. */
  head: Uint8Array;
  /** From its start. */
  conversion: () => Conversion;
};

/**
 * `vocabulary`: the keys of the tokenizer; `name`: what the model is called.
 * Errors: `invalid_option` for a scheme that llama.cpp does not decode; `nothing_to_convert` where all stay, and
 * no types were told
 */
export function planGguf(
  { model, tensors }: DecidedGguf,
  vocabulary: Pairs,
  name: string,
  choices: GgufChoices & { scheme: Scheme },
  { watch, record }: ValueWatch = {},
): GgufPlan {
  const { scheme, selection, output, types } = choices;
  checkScheme(scheme);
  checkPlain(scheme);
  const isMade = tensors.some(({ becomes }) => becomes === "MXFP4");
  if (!isMade && types.length === 0)
    throw nothingTo("quantize", tensors, (_, i) => tensors[i]!.reason);
  const heads = tensors.map(({ name: own, shape, becomes }): TensorHead => ({
    name: own,
    dtype: becomes,
    shape,
  }));
  const { computed } = model;
  if (computed)
    heads.unshift({
      name: computed.name,
      dtype: "F32",
      shape: [computed.values.length],
    });
  const pairs = new Map<string, Uint8Array>([
    encoded("general.architecture", { string: model.name }),
    encoded("general.name", { string: name }),
    ...typePairs(mostOf(heads, "MXFP4")),
    ...model.pairs.map(([key, value]) =>
      encoded(`${model.name}.${key}`, value),
    ),
    ...vocabulary.map(([key, value]) => encoded(key, value)),
    ...[
      ...writeScheme(
        scheme,
        layoutOf("gguf", scheme.format).name,
        selection,
        false,
      ),
      ...ggufRecords(output, types),
      ...(record === undefined ? [] : [nonfiniteRecord(record)]),
    ].map(([key, string]) => encoded(key, { string })),
  ]);
  const written = writeGgufHead(pairs, heads.map(ggufTensor));
  return {
    reads: tensors.flatMap(({ reads }) => reads.flat()),
    totalBytes: written.head.length + written.dataBytes,
    head: written.head,
    conversion() {
      const pool = new HoldPool();
      const sections = tensors.flatMap((tensor, place) => {
        const own = sectionsOf(tensor, place, scheme, pool, watch);
        const { name: called, shape, becomes: dtype } = tensor;
        return padded(own, paddingOf({ name: called, dtype, shape }));
      });
      if (computed) {
        // It has no bytes to be read, so it goes before the first that has.
        const first = sections[0]!;
        const bytes = paddedFloats(computed.values);
        sections[0] = () => after(bytes, first());
      }
      return new Conversion({
        ...written,
        sections,
        pool,
        heldBytes: Math.max(0, ...tensors.map(heldOf)),
      });
    },
  };
}

function encoded(key: string, value: GgufValue): [string, Uint8Array] {
  return [key, encodePair(key, value)];
}

function sectionsOf(
  tensor: DecidedTensor,
  place: number,
  scheme: Scheme,
  pool: HoldPool,
  watch: Watch | undefined,
): OpenSection[] {
  const { name, shape, dtype, becomes, turned, change, float8 } = tensor;
  const bytes = tensor.reads.map(bytesOf);
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

/** What `writer` makes of floats or FP8, as llama.cpp has them. Two holds of `pool`, from `hold` on. */
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
  return scaledSections(float8, bytesOf(reads[0]!), pool, hold + 1, inner);
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
    const stored = [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!];
    return watched({ name, shape: stored }, types, watch, (lost) =>
      convertedTurned(stored, dtype, write, pool, hold, lost),
    );
  }
  // Floats have no rows that matter: one, whose last piece is short, is never padded.
  const cut = isBlocks ? rows : oneRow(elementCount(shape));
  return watched({ name, shape }, types, watch, (lost) =>
    converted(cut, dtype, write, lost),
  );
}

/** Of a tensor: a matrix that is turned, and scales until what they are of has come. */
export function heldOf(tensor: DecidedTensor): number {
  const { name, shape, becomes, turned, reads } = tensor;
  const matrix = { name, shape: shape.slice(-2), dtype: becomes };
  const scales = reads.length > 1 ? bytesOf(reads[0]!) : 0;
  return scales + (turned ? ggufTensorBytes(ggufTensor(matrix)) : 0);
}

function bytesOf(reads: readonly TensorRead[]): number {
  return reads.reduce((sum, read) => sum + runBytes(read), 0);
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

function oneRow(count: number): Rows {
  return { rows: 1, k: count, padded: count };
}

function paddingOf(head: TensorHead): number {
  return paddingAfter(ggufTensorBytes(ggufTensor(head)), DEFAULT_ALIGNMENT);
}

function padded(
  sections: readonly OpenSection[],
  padding: number,
): OpenSection[] {
  if (padding === 0) return [...sections];
  const last = sections.at(-1)!;
  return [
    ...sections.slice(0, -1),
    () => before(new Uint8Array(padding), last()),
  ];
}

function paddedFloats(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(
    values.byteLength + paddingAfter(values.byteLength, DEFAULT_ALIGNMENT),
  );
  bytes.set(
    new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  );
  return bytes;
}
