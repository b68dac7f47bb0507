/** Opens a local tensor file for sequential reading; also a GGUF split into several files. */
import { basename, dirname, join } from "node:path";
import type { RawOptions } from "../api/tensors.ts";
import { joinedFile, readGgufParts } from "../checkpoints/gguf-parts.ts";
import type { TensorFile } from "../formats/containers/container.ts";
import { readTensorFile } from "../formats/containers/containers.ts";
import { rawOf } from "../formats/operations/file-operation.ts";
import { OpenFile } from "./files.ts";
import { localBeside } from "./ranged-files.ts";

export type OpenTensorFile = {
  /** The parsed header; `source` is at the start of the data. */
  input: TensorFile;
  source: OpenFile;
  /** Paths of its files. */
  paths: readonly string[];
};

/** `begin` receives the number of bytes to read, then `onRead` those taken. Errors: those of `readTensorFile` */
export async function openTensorFile(
  path: string,
  options: RawOptions,
  begin: (bytes: number) => void,
  onRead: (bytes: number) => void,
): Promise<OpenTensorFile> {
  const raw = rawOf(options);
  const open = localBeside(path);
  const name = basename(path);
  const gguf = raw
    ? undefined
    : await readGgufParts(name, await open(name), open);
  const isSplit = gguf !== undefined && gguf.parts.length > 1;
  const paths = isSplit
    ? gguf.parts.map((part) => join(dirname(path), part.name))
    : [path];
  const starts = isSplit ? gguf.parts.map(({ headBytes }) => headBytes) : [0];
  const source = await OpenFile.open(
    paths.map((each, i) => ({ path: each, start: starts[i]! })),
    onRead,
  );
  try {
    begin(source.bytes);
    const input = isSplit
      ? joinedFile(gguf)
      : await readTensorFile(source, source.bytes, raw);
    return { input, source, paths };
  } catch (error) {
    await source.close();
    throw error;
  }
}
