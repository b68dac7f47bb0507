/** A GGUF to go on training from is taken or refused by what its tokens are, whatever its head's length. */
import "../support/kernels.ts";
import { expect, test } from "vitest";
import { ggufFolder } from "../../src/checkpoints/from-gguf/gguf-folder.ts";
import { readGguf } from "../../src/checkpoints/read-heads.ts";
import {
  architectureOf,
  completeShape,
  modelOf,
} from "../../src/model/architectures.ts";
import { Bpe, type Merge } from "../../src/tokenizers/bpe.ts";
import { writeTokenizerJson } from "../../src/tokenizers/tokenizer-json.ts";
import { openModel } from "../../src/training/imported-model.ts";
import {
  trainedFolder,
  withTokenizer,
} from "../../src/training/model-folder.ts";
import { fileOf, ggufOfFolder, withPair } from "../support/gguf-of-folder.ts";
import { directoryOf, folderIn } from "../support/text-models.ts";

const MIB = 2 ** 20;

/** A GGUF of as many ids, of which the first are these byte pairs'. */
function ggufWith(vocabulary: number, bpe: Bpe): Promise<Uint8Array> {
  const shape = completeShape({
    layers: 1,
    width: 32,
    heads: 1,
    context: 8,
    vocabulary,
  });
  const tensors = modelOf(shape).table.tensors.map((tensor) => ({
    ...tensor,
    values: new Float32Array(tensor.length).fill(1),
  }));
  const config = architectureOf(shape).huggingFaceConfig(shape);
  return ggufOfFolder(folderIn(directoryOf(config, tensors, bpe)));
}

async function tokenizerIn(gguf: Uint8Array) {
  const folder = await trainedFolder({
    list: () => Promise.resolve(["a.gguf"]),
    text: () => Promise.resolve(undefined),
    open: () => Promise.resolve(fileOf(gguf)),
  });
  return (await withTokenizer(folder, await openModel(folder))).tokenizer;
}

const headOf = async (gguf: Uint8Array) =>
  (await readGguf(fileOf(gguf)))!.headBytes;

test("byte pairs of this project are read of a head of more than a MiB", async () => {
  const pairs = Array.from({ length: 40_000 }, (_, i): Merge => [
    i >> 8,
    i & 255,
  ]);
  const bpe = new Bpe(pairs);
  const gguf = await ggufWith(bpe.vocabulary, bpe);
  expect(await headOf(gguf)).toBeGreaterThan(MIB);
  expect(await tokenizerIn(gguf)).toBe(writeTokenizerJson(bpe));
  const piece = await withPair(gguf, "tokenizer.ggml.pre", { string: "qwen2" });
  expect(await tokenizerIn(piece)).toBeUndefined();
});

test("more ids than a run's tokens can be are refused by their number", async () => {
  const gguf = await ggufWith(65_537, new Bpe([]));
  expect(await headOf(gguf)).toBeGreaterThan(MIB);
  await expect(tokenizerIn(gguf)).rejects.toMatchObject({
    code: "invalid_config",
    message: expect.stringMatching(
      /vocabulary of at most 65536 ids.*, got 65537$/,
    ),
  });
});

test("a vocabulary that nobody asks for is read past, not kept; a key twice is refused as ever", async () => {
  const long = await withPair(
    await ggufWith(300, new Bpe([])),
    "tokenizer.other",
    { string: "x".repeat(2 * MIB) },
  );
  const keeps = (key: string) => !key.startsWith("tokenizer.");
  const [all, some] = [
    (await readGguf(fileOf(long)))!,
    (await readGguf(fileOf(long), { keeps }))!,
  ];
  const kept = [...all.gguf.pairs].filter(([key]) => keeps(key));
  expect([...some.gguf.pairs]).toEqual(kept);
  expect(kept.length).toBeLessThan(all.gguf.pairs.size);
  expect([some.headBytes, some.gguf.tensors]).toEqual([
    all.headBytes,
    all.gguf.tensors,
  ]);
  const folder = (await ggufFolder("a.gguf", fileOf(long), undefined, {
    keeps,
  }))!;
  expect((await openModel(folder)).shape.vocabulary).toBe(300);
  const other = await withPair(long, "tokenizer.ggml.pr2", { boolean: true });
  const twice = Buffer.from(other);
  twice.write("tokenizer.ggml.pre", twice.indexOf("tokenizer.ggml.pr2"));
  await expect(readGguf(fileOf(twice), { keeps })).rejects.toThrow(
    "each key once",
  );
});
