/** Models with random weights as directories in memory, and what they write. */
import type { ModelShape } from "../../src/api/run-config.ts";
import type { Folder } from "../../src/checkpoints/read-heads.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { writeSafetensors } from "../../src/formats/containers/safetensors.ts";
import { openTextModel } from "../../src/generation/open-model.ts";
import { Writer, type WritingOptions } from "../../src/generation/writer.ts";
import type { WeightFormat } from "../../src/kernels/decode.ts";
import { architectureOf, modelOf } from "../../src/model/architectures.ts";
import { Bpe } from "../../src/tokenizers/bpe.ts";
import { writeTokenizerJson } from "../../src/tokenizers/tokenizer-json.ts";
import { normals } from "./random.ts";

export type Files = Map<string, Uint8Array>;

const utf8 = new TextEncoder();

export function folderIn(files: Files): Folder {
  return {
    list: () => Promise.resolve([...files.keys()]),
    text: (name) =>
      Promise.resolve(
        files.has(name) ? new TextDecoder().decode(files.get(name)) : undefined,
      ),
    open: (name) => {
      const bytes = files.get(name)!;
      return Promise.resolve({
        bytes: bytes.length,
        read: (start: number, end: number) =>
          Promise.resolve(bytes.slice(start, end)),
      });
    },
  };
}

export type RandomTensor = {
  name: string;
  shape: readonly number[];
  values: Float32Array<ArrayBuffer>;
};

export function directoryOf(
  config: object,
  tensors: readonly RandomTensor[],
  tokenizer?: Bpe,
): Files {
  const { bytes, chunks } = writeSafetensors(
    tensors.map(({ name, shape, values }) => ({
      name,
      shape: [...shape],
      dtype: "F32" as const,
      chunks: [new Uint8Array(values.buffer)],
    })),
    new Map(),
  );
  return new Map([
    ["config.json", utf8.encode(JSON.stringify(config))],
    ["model.safetensors", concatenate(bytes, [...chunks])],
    ...(tokenizer
      ? ([
          ["tokenizer.json", utf8.encode(writeTokenizerJson(tokenizer))],
        ] as const)
      : []),
  ]);
}

/** Its tensors in the order of the flat vector, so large that predictions are far from even. */
export function gpt2Tensors(shape: ModelShape, seed = 1): RandomTensor[] {
  return modelOf(shape).table.tensors.map((tensor, index) => {
    const values = normals(tensor.length, seed + index);
    const isGain = /ln_.*weight/.test(tensor.name);
    const size = tensor.shape.length === 2 ? 2.5 / Math.sqrt(shape.width) : 0.2;
    const own = values.map((x) => (isGain ? 1 + 0.2 * x : size * x));
    return { ...tensor, values: own as Float32Array<ArrayBuffer> };
  });
}

export function gpt2Directory(shape: ModelShape, tokenizer?: Bpe): Files {
  const config = architectureOf(shape).huggingFaceConfig(shape);
  return directoryOf(config, gpt2Tensors(shape), tokenizer);
}

/** All of the text that follows, and how it ended. */
export async function written(
  files: Files,
  prompt: string,
  options: WritingOptions,
  format: WeightFormat = "f32",
) {
  const model = await (await openTextModel(folderIn(files))).load(format);
  const writer = new Writer(model);
  try {
    return await collected(writer, prompt, options);
  } finally {
    writer.free();
  }
}

export async function collected(
  writer: Writer,
  prompt: string,
  options: WritingOptions,
) {
  const pieces: string[] = [];
  const writing = writer.write(prompt, options, () => {});
  for (;;) {
    const { value, done } = await writing.next();
    if (done) return { text: pieces.join(""), pieces, ending: value };
    pieces.push(value);
  }
}

/** The model that the example of `generate` names, in the files of an edge. */
export async function putExampleModel(url: string): Promise<void> {
  const sizes = { layers: 1, width: 64, heads: 2, context: 32 };
  const files = gpt2Directory({ ...sizes, vocabulary: 256 });
  for (const [name, body] of files) {
    const path = `${url}/v1/files/example-model/${name}`;
    const response = await fetch(path, {
      method: "PUT",
      body: new Uint8Array(body),
    });
    if (!response.ok) throw new Error(`Expected 201, got ${response.status}`);
  }
}

/** The same on every machine and in every runtime: what it writes stands in the tests. */
export const PINNED_SHAPE: ModelShape = {
  layers: 2,
  width: 64,
  heads: 4,
  context: 32,
  vocabulary: 260,
};
const MERGES = [
  [104, 101], // he
  [116, 256], // the
  [257, 32],
  [110, 100], // nd
] as const;

export async function pinnedTexts(): Promise<string[]> {
  const files = gpt2Directory(PINNED_SHAPE, new Bpe(MERGES));
  const options = { maxTokens: 48, seed: 3, topP: 0.9, repetition: 1.1 };
  const texts = [];
  for (const format of ["f32", "mxfp4"] as const)
    texts.push((await written(files, "and the ", options, format)).text);
  return texts;
}
