/**
 * Kernels whose measure is memory: bytes of f32 a second, read (quantizing, packing) or written
 * (dequantizing), beside `memory.copy` of as many.
 *
 *   quantize/…   2 MiB of f32 to codes and scales; rht-sr in chunks, as files are quantized; mse beside
 *                nearest, whose scales are found in one way as in another
 *   pack/…       the same of one operand of a GEMM, to the layout it is multiplied in: f32 as it is,
 *                rht-sr rotated and rounded stochastically; rows lie K-contiguous, columns transposed
 */
import type { Pointer } from "../src/kernels/arena.ts";
import {
  byColumns,
  byRows,
  type Operand,
  packF32,
} from "../src/kernels/matmul.ts";
import { packMxfp4 } from "../src/kernels/mxfp4-matmul.ts";
import { drawSigns, hadamardTransform } from "../src/kernels/hadamard.ts";
import {
  dequantizeMxfp4,
  type Quantizer,
  quantizeMxfp4,
} from "../src/kernels/mxfp4.ts";
import {
  dequantizeMxfp8,
  FLOAT8_TYPES,
  type Float8Type,
  type Mxfp8Quantizer,
  quantizeMxfp8,
} from "../src/kernels/mxfp8.ts";
import { noiseKey, PURPOSE } from "../src/kernels/noise.ts";
import { kernels } from "../src/kernels/runtime.ts";
import type { KernelBenchmark } from "./benchmark.ts";
import { allocNormals } from "./data.ts";

const BYTES = 2 * 1024 * 1024;
const LENGTH = BYTES / 4;
/** src/formats/blocks/block-pieces.ts rotates and quantizes so many elements at a time. */
const CHUNK_LENGTH = 1 << 16;
const PACK_K = 512;
const PACK_ROWS = LENGTH / PACK_K;

const NEAREST: Quantizer = {
  rounding: { mode: "nearest-even" },
  scale: "floor",
  prescale: 1,
};
/** Algorithm 2. */
const STOCHASTIC: Quantizer = {
  rounding: {
    mode: "stochastic",
    key: noiseKey(1, PURPOSE.fileRounding, 0),
    firstElement: 0,
  },
  scale: "floor",
  prescale: 0.75,
};
const LEAST_SQUARES: Quantizer = { ...NEAREST, scale: "mse" };
const NEAREST_MXFP8: Mxfp8Quantizer = {
  rounding: { mode: "nearest-even" },
  scale: "floor",
};
/** At the scale that stochastic rounding has unless told: nothing clips. */
const STOCHASTIC_MXFP8: Mxfp8Quantizer = {
  rounding: {
    mode: "stochastic",
    key: noiseKey(1, PURPOSE.fileRounding, 0),
    firstElement: 0,
  },
  scale: "rceil",
};

type BytesBenchmark = Pick<KernelBenchmark, "name" | "setup"> & {
  /** Beside memory.copy. */
  baseline?: string;
};

export function bytesBenchmarks(): KernelBenchmark[] {
  const benchmarks: BytesBenchmark[] = [
    { name: "memory.copy", setup: setupCopy },
    { name: "quantize/nearest", setup: () => setupQuantize(NEAREST) },
    {
      name: "quantize/mse",
      setup: () => setupQuantize(LEAST_SQUARES),
      baseline: "quantize/nearest",
    },
    { name: "quantize/sr", setup: () => setupQuantize(STOCHASTIC) },
    { name: "quantize/rht-sr", setup: setupRotateAndQuantize },
    { name: "dequantize", setup: setupDequantize },
    ...FLOAT8_TYPES.flatMap((type) => [
      {
        name: `quantize/mxfp8-${type}`,
        setup: () => setupQuantizeMxfp8(type, NEAREST_MXFP8),
      },
      {
        name: `quantize/mxfp8-${type}-sr`,
        setup: () => setupQuantizeMxfp8(type, STOCHASTIC_MXFP8),
      },
      {
        name: `dequantize/mxfp8-${type}`,
        setup: () => setupDequantizeMxfp8(type),
      },
    ]),
    {
      name: "pack/f32/rows",
      setup: () => setupPackF32((source) => byRows(source, PACK_K)),
    },
    {
      name: "pack/f32/columns",
      setup: () => setupPackF32((source) => byColumns(source, PACK_ROWS)),
    },
    {
      name: "pack/rht-sr/rows",
      setup: () => setupPack((source) => byRows(source, PACK_K)),
    },
    {
      name: "pack/rht-sr/columns",
      setup: () => setupPack((source) => byColumns(source, PACK_ROWS)),
    },
  ];
  return benchmarks.map(({ name, setup, baseline = [] }) => ({
    name,
    unit: "GB/s",
    work: BYTES,
    baselines:
      name === "memory.copy" ? [] : ["memory.copy", ...[baseline].flat()],
    setup,
  }));
}

/** By `copyWithin`, which ends in the same memmove of the engine as the `memory.copy` instruction. */
function setupCopy(): () => void {
  const { arena } = kernels();
  const from = allocNormals(0, LENGTH);
  const to = arena.alloc(BYTES);
  const bytes = arena.u8(0, to + BYTES);
  return () => void bytes.copyWithin(to, from, from + BYTES);
}

function setupQuantize(quantizer: Quantizer): () => void {
  const x = allocNormals(0, LENGTH);
  const { elements, scales } = allocMxfp4();
  return () => quantizeMxfp4(elements, scales, x, LENGTH, quantizer);
}

/** In place: what is rotated again stays a normal draw of the same size, H being orthonormal. */
function setupRotateAndQuantize(): () => void {
  const x = allocNormals(0, LENGTH);
  const { elements, scales } = allocMxfp4();
  const signs = allocSigns();
  return () => {
    for (let start = 0; start < LENGTH; start += CHUNK_LENGTH) {
      const chunk = x + start * 4;
      hadamardTransform(chunk, CHUNK_LENGTH, 64, signs);
      quantizeMxfp4(
        elements + start / 2,
        scales + start / 32,
        chunk,
        CHUNK_LENGTH,
        STOCHASTIC,
      );
    }
  };
}

function setupDequantize(): () => void {
  const { elements, scales } = allocMxfp4();
  quantizeMxfp4(elements, scales, allocNormals(0, LENGTH), LENGTH, NEAREST);
  const out = kernels().arena.alloc(BYTES);
  return () => dequantizeMxfp4(out, elements, scales, LENGTH, 1);
}

function setupQuantizeMxfp8(
  type: Float8Type,
  quantizer: Mxfp8Quantizer,
): () => void {
  const x = allocNormals(0, LENGTH);
  const { elements, scales } = allocMxfp8();
  return () => quantizeMxfp8(elements, scales, x, LENGTH, type, quantizer);
}

function setupDequantizeMxfp8(type: Float8Type): () => void {
  const { elements, scales } = allocMxfp8();
  const x = allocNormals(0, LENGTH);
  quantizeMxfp8(elements, scales, x, LENGTH, type, NEAREST_MXFP8);
  const out = kernels().arena.alloc(BYTES);
  return () => dequantizeMxfp8(out, elements, scales, LENGTH, type);
}

function setupPackF32(operandOf: (source: Pointer) => Operand): () => void {
  const operand = operandOf(allocNormals(0, LENGTH));
  return () =>
    kernels().arena.scope(() => {
      packF32("a", operand, PACK_ROWS, PACK_K, false);
    });
}

/** An operand of a GEMM that contracts over PACK_K. */
function setupPack(operandOf: (source: Pointer) => Operand): () => void {
  const { arena } = kernels();
  const operand = operandOf(allocNormals(0, LENGTH));
  const signs = allocSigns();
  const rounding = noiseKey(1, PURPOSE.gemmRounding);
  // The panel lies in a scope of the iteration, as it does when a layer packs.
  return () =>
    arena.scope(() => {
      packMxfp4("a", operand, PACK_ROWS, PACK_K, { signs, rounding });
    });
}

function allocMxfp4(): { elements: Pointer; scales: Pointer } {
  const { arena } = kernels();
  return {
    elements: arena.alloc(LENGTH / 2),
    scales: arena.alloc(LENGTH / 32),
  };
}

function allocMxfp8(): { elements: Pointer; scales: Pointer } {
  const { arena } = kernels();
  return { elements: arena.alloc(LENGTH), scales: arena.alloc(LENGTH / 32) };
}

function allocSigns(): Pointer {
  const signs = kernels().arena.allocF32(64);
  drawSigns(signs, 64, noiseKey(1, PURPOSE.fileSigns));
  return signs;
}
