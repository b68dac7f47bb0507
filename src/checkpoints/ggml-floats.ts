/** Dequantizes ggml's blocks to f32, exactly. */
import { AppError } from "../api/errors.ts";
import { fromGgml } from "../formats/blocks/block-pieces.ts";
import type { Pointer } from "../kernels/arena.ts";
import { BLOCK_SIZE } from "../kernels/mx.ts";
import { dequantizeMxfp4, GGML_BLOCK_BYTES } from "../kernels/mxfp4.ts";
import { Q8_BLOCK_BYTES } from "../kernels/q8.ts";
import { kernels } from "../kernels/runtime.ts";
import { decodeF16 } from "../kernels/vector.ts";
import type { GgmlTensor } from "./checkpoint.ts";

const BLOCK_BYTES = {
  MXFP4: GGML_BLOCK_BYTES,
  Q8_0: Q8_BLOCK_BYTES,
} as const;
const SCALE_BYTES = 2;
const NAN_SCALE = 255;

/** Bytes of a row of `columns`, whole blocks. */
export function ggmlRowBytes(
  dtype: GgmlTensor["dtype"],
  columns: number,
): number {
  return (columns / BLOCK_SIZE) * BLOCK_BYTES[dtype];
}

/**
 * Dequantizes whole blocks of tensor `name` to f32, allocated in the caller's arena scope. Errors: `invalid_number`
 * if a block holds a NaN or an infinity
 */
export function ggmlFloats(
  dtype: GgmlTensor["dtype"],
  bytes: Uint8Array,
  name: string,
): Pointer {
  return dtype === "MXFP4" ? fromMxfp4(bytes, name) : fromQ8(bytes, name);
}

function fromMxfp4(bytes: Uint8Array, name: string): Pointer {
  const { arena } = kernels();
  const { elements, scales } = fromGgml(bytes);
  const blocks = bytes.length / GGML_BLOCK_BYTES;
  if (arena.u8(scales, blocks).includes(NAN_SCALE)) throw notFinite(name);
  const x = arena.allocF32(blocks * BLOCK_SIZE);
  dequantizeMxfp4(x, elements, scales, blocks * BLOCK_SIZE, 1);
  return x;
}

/** Dequantizes blocks {scale f16, 32 elements i8}. */
function fromQ8(bytes: Uint8Array, name: string): Pointer {
  const { arena } = kernels();
  const blocks = bytes.length / Q8_BLOCK_BYTES;
  const halves = new Uint8Array(SCALE_BYTES * blocks);
  for (let block = 0; block < blocks; block++) {
    const at = block * Q8_BLOCK_BYTES;
    halves.set(bytes.subarray(at, at + SCALE_BYTES), SCALE_BYTES * block);
  }
  const out = arena.allocF32(blocks * BLOCK_SIZE);
  const scales = arena.allocF32(blocks);
  decodeF16(scales, arena.copyIn(halves), blocks);
  // Safe as views: nothing grows the memory below.
  const [x, factors] = [
    arena.f32(out, blocks * BLOCK_SIZE),
    arena.f32(scales, blocks),
  ];
  const codes = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let block = 0; block < blocks; block++) {
    const factor = factors[block]!;
    if (!Number.isFinite(factor)) throw notFinite(name);
    const at = block * Q8_BLOCK_BYTES + SCALE_BYTES;
    for (let i = 0; i < BLOCK_SIZE; i++)
      x[block * BLOCK_SIZE + i] = factor * codes[at + i]!;
  }
  return out;
}

function notFinite(name: string): AppError {
  return new AppError(
    "invalid_number",
    `Expected finite values in "${name}", got a block whose scale is none`,
  );
}
