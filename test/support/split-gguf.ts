/** A GGUF in parts, as llama-gguf-split cuts it: the first has all keys, the others those of the split alone. */
import { readGguf } from "../../src/checkpoints/read-heads.ts";
import { rangesOf } from "../../src/formats/containers/gguf-file.ts";
import { paddingAfter } from "../../src/formats/containers/gguf-types.ts";
import { writeGgufHead } from "../../src/formats/containers/gguf-writer.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { fileOf } from "./gguf-of-folder.ts";

const U16 = 2;
const I32 = 5;

/** A key-value of an integer, in its bytes. */
function integerPair(
  key: string,
  type: number,
  value: number,
): [string, Uint8Array] {
  const name = new TextEncoder().encode(key);
  const bytes = new Uint8Array(8 + name.length + 4 + (type === U16 ? 2 : 4));
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(name.length), true);
  bytes.set(name, 8);
  view.setUint32(8 + name.length, type, true);
  if (type === U16) view.setUint16(12 + name.length, value, true);
  else view.setInt32(12 + name.length, value, true);
  return [key, bytes];
}

/** By name; `counts` are the tensors of each part, the last of which has the rest. What is not padded at the end is so in the last part. */
export async function splitGguf(
  bytes: Uint8Array,
  counts: readonly number[],
  prefix = "model",
): Promise<Map<string, Uint8Array>> {
  const { gguf, headBytes } = (await readGguf(fileOf(bytes)))!;
  const ranges = rangesOf(gguf);
  const digits = (n: number) => String(n).padStart(5, "0");
  const parts = new Map<string, Uint8Array>();
  let from = 0;
  for (const [i, count] of counts.entries()) {
    const pairs = new Map([
      ...(i === 0 ? gguf.pairs : []),
      integerPair("split.no", U16, i),
      integerPair("split.count", U16, counts.length),
      integerPair("split.tensors.count", I32, gguf.tensors.length),
    ]);
    const isLast = i === counts.length - 1;
    const own = gguf.tensors.slice(from, isLast ? undefined : from + count);
    const { head } = writeGgufHead(pairs, own);
    const data = ranges
      .slice(from, from + own.length)
      .flatMap(({ start, end }) => [
        bytes.subarray(headBytes + start, headBytes + end),
        new Uint8Array(paddingAfter(end - start, 32)),
      ]);
    const total = [head, ...data].reduce((sum, { length }) => sum + length, 0);
    const name = `${prefix}-${digits(i + 1)}-of-${digits(counts.length)}.gguf`;
    parts.set(name, concatenate(total, [head, ...data]));
    from += count;
  }
  return parts;
}
