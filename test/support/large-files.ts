/** Files too large to be made at once: their head, and a piece that their data repeats. */
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import { normals } from "./random.ts";

export const MIB = 2 ** 20;
/** Of each tensor. */
export const TENSOR_MIB = 64;

export type LargeFile = { head: Uint8Array; dataBytes: number };

/** A MiB of normal values, which all tensors repeat. */
export const FLOATS = new Uint8Array(normals(MIB / 4, 1).buffer);

export function floatFile(tensors: number): LargeFile {
  return writeHead(
    Array.from({ length: tensors }, (_, i) => ({
      name: `layer.${i}.weight`,
      dtype: "F32" as const,
      shape: [4096, 4096],
    })),
    new Map(),
  );
}

/** The file as it is sent, no faster than it is taken. */
export function streamOf(
  { head, dataBytes }: LargeFile,
  piece: Uint8Array,
): ReadableStream<Uint8Array> {
  let left = dataBytes;
  return new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(head),
    pull(controller) {
      const length = Math.min(left, piece.length);
      left -= length;
      if (length > 0) controller.enqueue(piece.slice(0, length));
      else controller.close();
    },
  });
}
