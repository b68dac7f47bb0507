/** The GGUF of a directory in memory, as `quantize --for llama.cpp` writes it. */
import type { GgufChoices } from "../../src/checkpoints/gguf/decide-gguf.ts";
import { planFolderGguf } from "../../src/checkpoints/gguf/folder-gguf.ts";
import {
  type Folder,
  type RangedFile,
  readGguf,
} from "../../src/checkpoints/read-heads.ts";
import { readInOrder } from "../../src/checkpoints/tensor-reads.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import {
  encodePair,
  type GgufValue,
  writeGgufHead,
} from "../../src/formats/containers/gguf-writer.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { run } from "../../src/formats/stream/conversion.ts";

export const fileOf = (bytes: Uint8Array): RangedFile => ({
  bytes: bytes.length,
  read: (start, end) => Promise.resolve(bytes.slice(start, end)),
});

/** The GGUF of a directory, whose matrices are packed as they are here where they are. */
export async function ggufOfFolder(
  folder: Folder,
  choices: Partial<GgufChoices> = {},
): Promise<Uint8Array> {
  const plan = await planFolderGguf(folder, "model", {
    scheme: { ...DEFAULT_SCHEME, rounding: "nearest-even", scale: "even" },
    selection: { include: [], exclude: [] },
    output: "keep",
    types: [],
    ...choices,
  });
  const names = [...new Set(plan.reads.map(({ file }) => file))];
  const files = new Map<string, RangedFile>();
  for (const name of names) files.set(name, await folder.open(name));
  const source = readInOrder(plan.reads, files, () => {});
  const chunks: Uint8Array[] = [];
  for await (const chunk of run(plan.conversion(), source))
    chunks.push(chunk.slice());
  return concatenate(plan.totalBytes, chunks);
}

/** The same GGUF with another key. */
export async function withPair(
  bytes: Uint8Array,
  key: string,
  value: GgufValue,
): Promise<Uint8Array> {
  const { gguf, headBytes } = (await readGguf(fileOf(bytes)))!;
  const pairs = new Map([...gguf.pairs, [key, encodePair(key, value)]]);
  const { head } = writeGgufHead(pairs, gguf.tensors);
  const data = bytes.subarray(headBytes);
  return concatenate(head.length + data.length, [head, data]);
}
