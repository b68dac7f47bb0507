/** Ranged reads of the user's files. Nothing leaves the page. */
import { AppError } from "../../api/errors.ts";
import type { Folder, RangedFile } from "../../checkpoints/read-heads.ts";
import { readTensorFile } from "../../formats/containers/containers.ts";
import type { TensorFile } from "../../formats/containers/container.ts";
import { FileSource, WINDOW_BYTES } from "../../formats/stream/file-source.ts";
import type { ByteSource } from "../../formats/stream/source.ts";
import type { TensorRange } from "../../formats/tensor.ts";

/** No format of tensors has fewer. */
const LEAST_BYTES = 8;
const HEAD_WINDOW_BYTES = 1 << 20;
/** Larger than any piece. */
const ZEROS = new Uint8Array(1 << 20);

async function bytesOf(
  file: Blob,
  start: number,
  end: number,
): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await file.slice(start, end).arrayBuffer());
}

function sourceOf(file: Blob, start: number, windowBytes = WINDOW_BYTES) {
  return new FileSource<Blob>(
    (blob, from, length) => bytesOf(blob, from, from + length),
    [{ file, start, end: file.size }],
    { windowBytes },
  );
}

function rangedFile(file: Blob): RangedFile {
  return {
    bytes: file.size,
    read: (start, end) => bytesOf(file, start, end),
  };
}

/** The files of a directory, by name. */
export function folderOf(files: ReadonlyMap<string, Blob>): Folder {
  return {
    list: () => Promise.resolve([...files.keys()]),
    text: async (name) => files.get(name)?.text(),
    open(name) {
      const file = files.get(name);
      if (file) return Promise.resolve(rangedFile(file));
      throw new AppError(
        "file_not_found",
        `Expected ${name}, got no such file`,
      );
    },
  };
}

/** Errors: as `readTensorFile` */
export async function headOf(file: Blob): Promise<TensorFile> {
  if (file.size < LEAST_BYTES)
    throw new AppError(
      "malformed_body",
      `Expected safetensors, .npy or GGUF, got a file of ${file.size} bytes`,
    );
  return readTensorFile(sourceOf(file, 0, HEAD_WINDOW_BYTES), file.size);
}

/**
 * A file's data of which only one tensor is read; all else is zeros, which the caller must ignore. `tell` receives the
 * share of the tensor that was taken.
 */
export function dataAround(
  file: Blob,
  { headBytes }: TensorFile,
  { start, end }: TensorRange,
  tell: (share: number) => void,
): ByteSource {
  const source = sourceOf(file, headBytes);
  let position = 0;
  return {
    take(bytes) {
      const from = position;
      position += bytes;
      tell(Math.min(1, Math.max(0, position - start) / (end - start)));
      const isOutside = position <= start || from >= end;
      if (isOutside && bytes <= ZEROS.length)
        return Promise.resolve(ZEROS.subarray(0, bytes));
      source.seek(from);
      return source.take(bytes);
    },
  };
}

/** A part of a tensor's bytes. */
export function readTensorBytes(
  file: Blob,
  { headBytes }: TensorFile,
  { start }: TensorRange,
  from: number,
  bytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const first = headBytes + start + from;
  return bytesOf(file, first, first + bytes);
}
