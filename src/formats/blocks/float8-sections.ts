/** Decodes FP8 to f32 for a section that reads f32. */
import { kernels } from "../../kernels/runtime.ts";
import { dequantizeMxfp8, type Float8Type } from "../../kernels/mxfp8.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { loadFloats } from "../dtype.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import { startsOf } from "../stream/piece-starts.ts";
import type { ScaleDtype, ScaleGrid } from "./fp8-scales.ts";

/** The scale byte of 1. */
const ONE = 127;

/** The scales of a tensor; `values` is called when they are available. */
export type Scaling = {
  shape: readonly number[];
  grid: ScaleGrid;
  values: () => Float32Array;
  /**
   * Maps an incoming element to its position in the tensor, and the number of elements that follow it there. Default:
   * in order.
   */
  lie?: (element: number) => { at: number; run: number };
};

/** Wraps `inner`, which reads f32, to read FP8 codes. */
export function fromFloat8(
  inner: Section,
  type: Float8Type,
  scaling?: Scaling,
): Section {
  const buffer = new OutputBuffer();
  const pieceBytes = (piece: number) => inner.pieceBytes(piece) / 4;
  // One byte per element.
  const starts = startsOf(pieceBytes);
  let scales: Float32Array | undefined;
  return {
    pieces: inner.pieces,
    pieceBytes,
    *convert(piece, codes) {
      const bytes = decode(codes, type, buffer);
      if (scaling) {
        scales ??= scaling.values();
        const floats = new Float32Array(bytes.buffer, 0, codes.length);
        applyScales(floats, starts(piece), scaling, scales);
      }
      yield* inner.convert(piece, bytes);
    },
    release() {
      buffer.release();
      inner.release?.();
    },
  };
}

function decode(
  codes: Uint8Array,
  type: Float8Type,
  buffer: OutputBuffer,
): Uint8Array<ArrayBuffer> {
  const { arena } = kernels();
  const padded = Math.ceil(codes.length / BLOCK_SIZE) * BLOCK_SIZE;
  return arena.scope(() => {
    const elements = arena.alloc(padded);
    const scales = arena.alloc(padded / BLOCK_SIZE);
    const out = arena.allocF32(padded);
    arena.u8(elements, padded).fill(0).set(codes);
    arena.u8(scales, padded / BLOCK_SIZE).fill(ONE);
    dequantizeMxfp8(out, elements, scales, padded, type);
    return buffer.copy(arena.u8(out, 4 * codes.length));
  });
}

/** Multiplies `x`, incoming elements from `start` on, by their scales; rounds once to f32. */
function applyScales(
  x: Float32Array,
  start: number,
  { shape, grid: { blocks, counts }, lie = inOrder }: Scaling,
  scales: Float32Array,
): void {
  const k = shape.at(-1) ?? 1;
  const block = blocks.at(-1) ?? 1;
  for (let i = 0; i < x.length;) {
    const { at, run } = lie(start + i);
    let column = at % k;
    const first = firstScale((at - column) / k);
    const runEnd = Math.min(x.length, i + run, i + k - column);
    while (i < runEnd) {
      const end = Math.min(runEnd, i + block - (column % block));
      const scale = scales[first + Math.floor(column / block)]!;
      column += end - i;
      for (; i < end; i++) x[i] = x[i]! * scale;
    }
  }

  /** Index of a row's first scale. */
  function firstScale(row: number): number {
    let [index, stride] = [0, counts.at(-1) ?? 1];
    for (let axis = shape.length - 2; axis >= 0; axis--) {
      const size = shape[axis]!;
      index += Math.floor((row % size) / blocks[axis]!) * stride;
      stride *= counts[axis]!;
      row = Math.floor(row / size);
    }
    return index;
  }
}

const inOrder = (element: number) => ({ at: element, run: Infinity });

/** Scales as f32, from little-endian `bytes`. */
export function loadScales(
  dtype: ScaleDtype,
  bytes: Uint8Array,
  count: number,
): Float32Array {
  if (dtype === "F8_E8M0")
    return Float32Array.from(bytes, (byte) =>
      byte === 255 ? NaN : 2 ** (byte - ONE),
    );
  const { arena } = kernels();
  return arena.scope(() => {
    const out = arena.allocF32(count);
    loadFloats(out, dtype, bytes);
    return arena.f32(out, count).slice();
  });
}
