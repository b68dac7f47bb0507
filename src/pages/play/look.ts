/**
 * What a scheme makes of one tensor: figures as the API's analysis has them, histograms, and one block
 * step by step. All of it is what the kernels and the operations on files say.
 */
import { AppError } from "../../api/errors.ts";
import { invalidOption } from "../../api/option-kinds.ts";
import { SCHEME_PRESETS } from "../../api/presets.ts";
import type { Scheme } from "../../api/scheme.ts";
import type { Analysis, SchemeOptions } from "../../api/tensors.ts";
import type { BlockFormat, Packed } from "../../formats/blocks/block-format.ts";
import { BLOCK_FORMATS } from "../../formats/blocks/block-formats.ts";
import {
  loadPiece,
  packBlocks,
  rotate,
  roundingKey,
  sortedPositions,
  unpackBlocks,
  withoutPadding,
} from "../../formats/blocks/block-pieces.ts";
import {
  inputBytes,
  type Piece,
  pieceCount,
  pieceOf,
  rowsOf,
} from "../../formats/blocks/block-rows.ts";
import { schemeOf } from "../../formats/blocks/scheme.ts";
import type { TensorFile } from "../../formats/containers/container.ts";
import { type FloatDtype, isFloat } from "../../formats/dtype.ts";
import { analysisOf } from "../../formats/operations/file-operation.ts";
import { run } from "../../formats/stream/conversion.ts";
import type { TensorRange } from "../../formats/tensor.ts";
import type { NoiseKey } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import { comparedSchemes } from "./compared-schemes.ts";
import { dataAround, headOf, readTensorBytes } from "./local-files.ts";

type Histogram = { from: number; to: number; counts: number[] };

/** One element of the block that is looked at. */
type Step = {
  x: number;
  /** After the rotation. */
  rotated: number;
  /** Times the prescale, over the scale: what is rounded. */
  scaled: number;
  /** Of the grid. */
  element: number;
  decoded: number;
};

export type Walk = { name: string; scale: number; steps: Step[] };

export type Look = {
  name: string;
  dtype: string;
  shape: readonly number[];
  figures: Analysis["tensors"][number];
  rule: string;
  before: Histogram;
  after: Histogram;
  /** How often each value of MXFP4's grid comes; none of other formats. */
  grid: { value: number; count: number }[];
  /** How often each exponent of a block's scale comes, 128 where the block is NaN. */
  scales: { exponent: number; count: number }[];
  /** Of the histograms. */
  elements: number;
  blocks: number;
  walks: Walk[];
};

const BINS = 61;
/** Of the tensor's front, for histograms. */
const MOST_PIECES = 16;
/** Of a walk: whole segments of 64. */
const WALK_LENGTH = 64;
const ALGORITHMS: readonly [string, SchemeOptions][] = [
  ["Algorithm 1: to nearest", SCHEME_PRESETS.ocp],
  [
    "Algorithm 2: stochastic, × 3/4",
    { rounding: "stochastic", scale: "floor", prescale: 0.75 },
  ],
  ["Algorithm 3: rotated, then 2", SCHEME_PRESETS.paper],
];

/** `block` is the walk's, of those of 64 that the tensor's front has. */
export async function lookAt(
  file: Blob,
  name: string,
  options: SchemeOptions,
  block: number,
): Promise<Look> {
  const head = await headOf(file);
  const tensor = head.tensors.find((each) => each.name === name);
  if (!tensor || !isFloat(tensor.dtype) || tensor.shape.length === 0)
    throw invalidOption(
      `a tensor of floats with a dimension, named "${name}"`,
      tensor ? `${tensor.dtype} [${tensor.shape.join(", ")}]` : "none",
    );
  const { tensors, rule } = await analyze(file, head, tensor, options);
  const scheme = schemeOf(options);
  const position = sortedPositions(head.tensors).get(name)!;
  const floats = tensor as TensorRange<FloatDtype>;
  const pieces = await piecesOf(file, head, floats, scheme.hadamard);
  const spread = spreadOf(pieces, floats.dtype, scheme, position);
  const [front] = await piecesOf(file, head, floats, WALK_LENGTH, 1);
  return {
    name,
    dtype: tensor.dtype,
    shape: tensor.shape,
    figures: tensors[0]!,
    rule,
    ...spread,
    walks: ALGORITHMS.map(([title, told]) =>
      walk(
        front!,
        floats,
        title,
        schemeOf({ ...told, seed: scheme.seed }),
        position,
        block,
      ),
    ),
  };
}

/** By all presets, beside the scheme that was chosen; of the file only the tensor's bytes are read. */
async function analyze(
  file: Blob,
  head: TensorFile,
  tensor: TensorRange,
  options: SchemeOptions,
): Promise<Analysis> {
  const { conversion, report } = analysisOf({
    ...options,
    compare: comparedSchemes(options),
    include: [tensor.name],
  })(head);
  // It has no output: this only drives it.
  for await (const _ of run(conversion, dataAround(file, head, tensor)));
  return report();
}

type LoadedPiece = { piece: Piece; bytes: Uint8Array };

async function piecesOf(
  file: Blob,
  head: TensorFile,
  tensor: TensorRange<FloatDtype>,
  segmentLength: number,
  most = MOST_PIECES,
): Promise<LoadedPiece[]> {
  const rows = rowsOf(tensor.shape, segmentLength);
  const count = Math.min(most, pieceCount(rows));
  if (count === 0)
    throw new AppError(
      "shape_mismatch",
      "Expected a tensor with elements, got an empty one",
    );
  const loaded: LoadedPiece[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    const length = inputBytes(rows, index, tensor.dtype);
    const bytes = await readTensorBytes(file, head, tensor, at, length);
    loaded.push({ piece: pieceOf(rows, index), bytes });
    at += length;
  }
  return loaded;
}

/** Calls `body` with each piece's values, and what becomes of them. */
function eachPiece(
  pieces: readonly LoadedPiece[],
  dtype: FloatDtype,
  scheme: Scheme,
  key: NoiseKey,
  body: (
    before: Float32Array,
    after: Float32Array,
    elements: Float32Array,
    scales: Uint8Array,
  ) => void,
): void {
  const { arena } = kernels();
  const format = BLOCK_FORMATS[scheme.format];
  for (const { piece, bytes } of pieces) {
    arena.scope(() => {
      const length = piece.rows * piece.real;
      const before = withoutPadding(loadPiece(bytes, dtype, piece), piece);
      const packed = packBlocks(
        loadPiece(bytes, dtype, piece),
        piece,
        scheme,
        key,
      );
      const after = withoutPadding(
        unpackBlocks(packed, piece.count, format, scheme),
        piece,
      );
      const elements = elementsOf(packed, piece.count, format);
      body(
        arena.f32(before, length),
        arena.f32(after, length),
        elements,
        arena.u8(packed.scales, piece.count / 32),
      );
    });
  }
}

/** Values of the grid: blocks whose scale is one. Inside `arena.scope`. */
function elementsOf(
  { elements }: Packed,
  count: number,
  format: BlockFormat,
): Float32Array {
  const { arena } = kernels();
  const scales = arena.alloc(count / 32);
  arena.u8(scales, count / 32).fill(127);
  const out = arena.allocF32(count);
  format.dequantize(out, { elements, scales }, count, 1);
  return arena.f32(out, count).slice();
}

function spreadOf(
  pieces: readonly LoadedPiece[],
  dtype: FloatDtype,
  scheme: Scheme,
  position: number,
): Pick<Look, "before" | "after" | "grid" | "scales" | "elements" | "blocks"> {
  const key = roundingKey(scheme.seed, position);
  let largest = 0;
  const grid = new Map<number, number>();
  const exponents = new Map<number, number>();
  let [length, blocks] = [0, 0];
  const add = (map: Map<number, number>, value: number) =>
    map.set(value, (map.get(value) ?? 0) + 1);
  eachPiece(pieces, dtype, scheme, key, (x, _, elements, scales) => {
    length += x.length;
    blocks += scales.length;
    for (const value of x)
      if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
    for (const value of elements) add(grid, value);
    for (const scale of scales) add(exponents, scale - 127);
  });
  const edge = largest || 1;
  const counts = { before: empty(), after: empty() };
  eachPiece(pieces, dtype, scheme, key, (x, y) => {
    tally(counts.before, x, edge);
    tally(counts.after, y, edge);
  });
  const range = { from: -edge, to: edge };
  const sorted = (map: Map<number, number>) =>
    [...map].sort(([a], [b]) => a - b);
  return {
    before: { ...range, counts: counts.before },
    after: { ...range, counts: counts.after },
    grid:
      scheme.format === "mxfp4"
        ? sorted(grid).map(([value, count]) => ({ value, count }))
        : [],
    scales: sorted(exponents).map(([exponent, count]) => ({ exponent, count })),
    elements: length,
    blocks,
  };
}

function empty(): number[] {
  return Array.from({ length: BINS }, () => 0);
}

function tally(counts: number[], values: Float32Array, edge: number): void {
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    const bin = Math.floor(((value / edge + 1) / 2) * BINS);
    counts[Math.min(BINS - 1, Math.max(0, bin))]!++;
  }
}

/** One stretch of 64 of the tensor's front, with the noise that it has in the file. */
function walk(
  { piece, bytes }: LoadedPiece,
  { dtype }: TensorRange<FloatDtype>,
  name: string,
  scheme: Scheme,
  position: number,
  block: number,
): Walk {
  const { arena } = kernels();
  const row = piece.count / piece.rows;
  const stretches = Math.max(1, Math.floor(row / WALK_LENGTH));
  const at = (block % stretches) * WALK_LENGTH;
  const count = Math.min(WALK_LENGTH, row - at);
  return arena.scope(() => {
    const x = loadPiece(bytes, dtype, piece);
    const part = (pointer: number) => arena.f32(pointer, count).slice();
    const own = { start: piece.start + at, count, rows: 1, real: count };
    const before = part(x + 4 * at);
    const padded = Math.ceil(count / WALK_LENGTH) * WALK_LENGTH;
    const values = arena.allocZeroedF32(padded);
    arena.f32(values, count).set(before);
    // A row that ends within a segment is padded, as in a file.
    const length = scheme.hadamard > 0 ? padded : count;
    const turned = arena.copyIn(arena.f32(values, length));
    rotate(turned, length, scheme);
    const rotated = arena.f32(turned, length).slice();
    const stretch = { ...own, count: length };
    const packed = packBlocks(
      values,
      stretch,
      scheme,
      roundingKey(scheme.seed, position),
    );
    const format = BLOCK_FORMATS[scheme.format];
    const elements = elementsOf(packed, length, format);
    const scales = arena.u8(packed.scales, length / 32).slice();
    const decoded = arena.f32(
      unpackBlocks(packed, length, format, scheme),
      length,
    );
    const steps = Array.from(before, (value, i): Step => {
      const scale = 2 ** (scales[i >> 5]! - 127);
      return {
        x: value,
        rotated: rotated[i]!,
        scaled: (rotated[i]! * scheme.prescale) / scale,
        element: elements[i]!,
        decoded: decoded[i]!,
      };
    });
    return { name, scale: 2 ** (scales[0]! - 127), steps };
  });
}
