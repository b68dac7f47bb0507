/**
 * Decodes blocks along the rows of [out, in], or of experts [E, out, in], to transposed floats [in, out], for layers
 * that were transposed to be quantized. A piece is one matrix's elements; output is in slabs of 32 rows.
 */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { transpose } from "../../kernels/matmul.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { DecodedDtype } from "../dtype.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import { heldBytes, type Hold } from "../stream/hold-pool.ts";
import { elementCount } from "../tensor.ts";
import { GGML_BLOCK_BYTES } from "../../kernels/mxfp4.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import { fromGgml, storePiece } from "./block-pieces.ts";
import type { Lost } from "./nonfinite.ts";
import type { PackedTensor } from "./packed-tensors.ts";

/** Scales are in `hold`, or in ggml's blocks. Requires: rows of whole blocks, no rotation or prescale */
export function decodedTurned(
  { shape, layout }: Pick<PackedTensor, "shape" | "layout">,
  dtype: DecodedDtype,
  hold: Hold | undefined,
  lost?: Lost,
): Section {
  const [outs, ins] = shape.slice(-2) as [number, number];
  const matrices = elementCount(shape.slice(0, -2));
  const format = BLOCK_FORMATS[layout.format];
  const groupBytes = hold ? format.elementBytes : GGML_BLOCK_BYTES;
  const slabs = ins / BLOCK_SIZE;
  const matrixBlocks = outs * slabs;
  const [out, blockRoom, scaleRoom] = [
    new OutputBuffer(),
    new OutputBuffer(),
    new OutputBuffer(),
  ];
  return {
    release() {
      for (const room of [out, blockRoom, scaleRoom]) room.release();
    },
    pieces: matrices,
    pieceBytes: () => matrixBlocks * groupBytes,
    *convert(matrix, bytes) {
      const scales = hold && heldBytes(hold).subarray(matrix * matrixBlocks);
      for (let slab = 0; slab < slabs; slab++)
        yield decodeSlab(bytes, scales, slab);
      if (matrix === matrices - 1) hold?.pool.release(hold.index);
    },
  };

  /** Decodes one slab, one block of each row, f32 [out, 32], and transposes it to [32, out]. */
  function decodeSlab(
    blocks: Uint8Array,
    scales: Uint8Array | undefined,
    slab: number,
  ): Uint8Array {
    const { arena } = kernels();
    return arena.scope(() => {
      const own = column(blocks, groupBytes, slab, blockRoom);
      const packed = scales
        ? {
            elements: arena.copyIn(own),
            scales: arena.copyIn(column(scales, 1, slab, scaleRoom)),
          }
        : fromGgml(own);
      const length = outs * BLOCK_SIZE;
      const x = arena.allocF32(length);
      format.dequantize(x, packed, length, 1);
      const turned = arena.allocF32(length);
      transpose(turned, x, outs, BLOCK_SIZE);
      const piece = { start: 0, count: length, rows: 1, real: length };
      return storePiece(turned, piece, dtype, out, lost);
    });
  }

  /** One column of a matrix [out, slabs] with entries of `bytes`. */
  function column(
    matrix: Uint8Array,
    bytes: number,
    slab: number,
    room: OutputBuffer,
  ): Uint8Array {
    const taken = room.take(outs * bytes);
    for (let row = 0; row < outs; row++) {
      const at = (row * slabs + slab) * bytes;
      for (let i = 0; i < bytes; i++) taken[row * bytes + i] = matrix[at + i]!;
    }
    return taken;
  }
}
