/**
 * Blocks along the rows of [out, in], or of experts [E, out, in], to floats [in, out], as layers store
 * them that were turned to be quantized. A piece is one matrix's elements; it goes in slabs of 32 rows.
 */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { transpose } from "../../kernels/matmul.ts";
import { kernels } from "../../kernels/runtime.ts";
import {
  type DecodedDtype,
  dtypeBytes,
  overflows,
  storeFloats,
} from "../dtype.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import { canonicalizeNaN } from "../../kernels/vector.ts";
import { elementCount } from "../tensor.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import type { Lost } from "./nonfinite.ts";
import type { PackedTensor } from "./packed-tensors.ts";

/** With all scales in `hold`. Requires: rows of whole blocks, decoded plainly */
export function decodedTurned(
  { shape, layout }: Pick<PackedTensor, "shape" | "layout">,
  dtype: DecodedDtype,
  pool: HoldPool,
  hold: number,
  lost?: Lost,
): Section {
  const [outs, ins] = shape.slice(-2) as [number, number];
  const matrices = elementCount(shape.slice(0, -2));
  const format = BLOCK_FORMATS[layout.format];
  const { elementBytes } = format;
  const slabs = ins / BLOCK_SIZE;
  const matrixBlocks = outs * slabs;
  const scales = () => pool.bytes(hold, matrices * matrixBlocks);
  const out = new OutputBuffer();
  return {
    release: () => out.release(),
    pieces: matrices,
    pieceBytes: () => matrixBlocks * elementBytes,
    *convert(matrix, bytes) {
      const own = scales().subarray(matrix * matrixBlocks);
      for (let slab = 0; slab < slabs; slab++)
        yield decodeSlab(bytes, own, slab);
      if (matrix === matrices - 1) pool.release(hold);
    },
  };

  /** The blocks of one slab, one of each row, as f32 [out, 32] turned to [32, out]. */
  function decodeSlab(
    elements: Uint8Array,
    exponents: Uint8Array,
    slab: number,
  ): Uint8Array {
    const { arena } = kernels();
    return arena.scope(() => {
      const packed = {
        elements: arena.alloc(outs * elementBytes),
        scales: arena.alloc(outs),
      };
      const codes = arena.u8(packed.elements, outs * elementBytes);
      const bytes = arena.u8(packed.scales, outs);
      for (let row = 0; row < outs; row++) {
        const at = row * slabs + slab;
        const block = elements.subarray(
          at * elementBytes,
          (at + 1) * elementBytes,
        );
        codes.set(block, row * elementBytes);
        bytes[row] = exponents[at]!;
      }
      const length = outs * BLOCK_SIZE;
      const x = arena.allocF32(length);
      format.dequantize(x, packed, length, 1);
      const turned = arena.allocF32(length);
      transpose(turned, x, outs, BLOCK_SIZE);
      canonicalizeNaN(turned, length);
      if (lost && overflows(dtype, turned, length)) lost();
      return storeFloats(
        dtype,
        turned,
        length,
        out.take(dtypeBytes(dtype, length)),
      );
    });
  }
}
