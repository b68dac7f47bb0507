/** Reads ranges of a checkpoint's files in the order of a conversion. */
import type { FileRange } from "../formats/stream/file-range.ts";
import { FileSource } from "../formats/stream/file-source.ts";
import type { ByteSource } from "../formats/stream/source.ts";
import type { RangedFile } from "./read-heads.ts";

/** A range of a file. */
export type TensorRead = FileRange<string>;

/** One after the other, in windows as `FileSource`; `onTaken` receives the number of bytes taken. */
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
