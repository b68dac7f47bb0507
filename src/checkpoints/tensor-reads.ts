/** Bytes of a checkpoint's files in the order that a conversion takes them. */
import type { FileRange } from "../formats/stream/file-range.ts";
import { FileSource } from "../formats/stream/file-source.ts";
import type { ByteSource } from "../formats/stream/source.ts";
import type { RangedFile } from "./read-heads.ts";

/** A part of a file, counted from its first byte. */
export type TensorRead = FileRange<string>;

/** One behind the other, in windows as `FileSource` does; `onTaken` is told of bytes as they are taken. */
export function readInOrder(
  reads: readonly TensorRead[],
  files: ReadonlyMap<string, RangedFile>,
  onTaken: (bytes: number) => void,
  options?: { windowBytes?: number; readsAhead?: boolean },
): ByteSource {
  const source = new FileSource<string>(
    (file, start, length, into) =>
      files.get(file)!.read(start, start + length, into),
    reads,
    options,
  );
  return {
    async take(bytes) {
      const taken = await source.take(bytes);
      onTaken(bytes);
      return taken;
    },
  };
}
