/**
 * A model of GPT-2's size, packed in MXFP4, writes within one isolate of 128 MiB: its weights are read by ranges, packed on
 * the way in, and multiplied as they are. They are random, stored in bf16.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import { architectureOf, modelOf } from "../../src/model/architectures.ts";
import { Bpe } from "../../src/tokenizers/bpe.ts";
import { writeTokenizerJson } from "../../src/tokenizers/tokenizer-json.ts";
import {
  type InspectedEdge,
  mostBytes,
  startInspectedEdge,
} from "../support/inspected-edge.ts";
import { ggufOfFolder } from "../support/gguf-of-folder.ts";
import { MIB } from "../support/large-files.ts";
import { folderIn } from "../support/text-models.ts";
import "../support/kernels-node.ts";
import { uniform } from "../support/random.ts";

const GPT2 = {
  layers: 12,
  width: 768,
  heads: 12,
  context: 1024,
  vocabulary: 50_257,
};

let folder: string;
let edge: InspectedEdge;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-generation-memory-"));
  edge = await startInspectedEdge(folder);
});
afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Numbers of ± 2^−6 … 2^−4, the same 64 KiB again and again. */
function weights(): Uint8Array<ArrayBuffer> {
  const { tensors } = modelOf(GPT2).table;
  const heads = tensors.map(({ name, shape }) => ({
    name,
    dtype: "BF16" as const,
    shape,
  }));
  const { head, dataBytes } = writeHead(heads, new Map());
  const next = uniform(1);
  const pattern = new Uint8Array(
    Uint16Array.from({ length: 32_768 }, () => {
      const sign = next() < 0.5 ? 0x8000 : 0;
      return sign | (0x3c80 + Math.floor(256 * next()));
    }).buffer,
  );
  const file = new Uint8Array(head.length + dataBytes);
  file.set(head);
  for (let at = head.length; at < file.length; at += pattern.length)
    file.set(pattern.subarray(0, file.length - at), at);
  return file;
}

/** As many ids as GPT-2's, of pairs of bytes and a sign; numbers are others than this project's, as they are there. */
function tokenizer(): string {
  const pairs = Array.from(
    { length: GPT2.vocabulary - 257 },
    (_, i) => [i % 256, Math.floor(i / 256)] as const,
  );
  const own = JSON.parse(writeTokenizerJson(new Bpe(pairs))) as {
    model: { vocab: Record<string, number> };
  };
  const content = "<|endoftext|>";
  const id = GPT2.vocabulary - 1;
  const vocab = Object.fromEntries([
    ...Object.entries(own.model.vocab).map(
      ([name, at]) => [name, id - 1 - at] as const,
    ),
    [content, id],
  ]);
  return JSON.stringify({
    ...own,
    added_tokens: [{ id, content, special: true, normalized: true }],
    model: { ...own.model, vocab },
  });
}

const config = JSON.stringify(architectureOf(GPT2).huggingFaceConfig(GPT2));
const files = new Map<string, Uint8Array>([
  ["config.json", new TextEncoder().encode(config)],
  ["tokenizer.json", new TextEncoder().encode(tokenizer())],
  ["model.safetensors", weights()],
]);

test.each(["a directory", "a GGUF"])(
  "GPT-2's size writes in MXFP4 within an isolate, of %s",
  async (kind) => {
    const client = new Mxfp4Edge({ baseUrl: edge.url });
    const name = kind === "a GGUF" ? "gpt2.gguf" : "gpt2";
    if (kind === "a GGUF") {
      const file = await ggufOfFolder(folderIn(files));
      await client.putFile(name, new Blob([file as Uint8Array<ArrayBuffer>]));
    } else
      for (const [file, bytes] of files)
        await client.putFile(
          `${name}/${file}`,
          new Blob([bytes as Uint8Array<ArrayBuffer>]),
        );
    const request = {
      prompt: "It was",
      weights: "mxfp4",
      maxTokens: 4,
    } as const;
    const texts: string[] = [];
    const write = async (times: number) => {
      for (let i = 0; i < times; i++) {
        let text = "";
        for await (const event of client.generate(name, request))
          if ("text" in event) text += event.text;
          else expect(event.tokens).toBe(4);
        texts.push(text);
      }
    };
    const most = await mostBytes(edge, `124 M parameters, ${kind}`, () =>
      write(2),
    );
    expect(texts[1]).toBe(texts[0]);
    expect(most).toBeGreaterThan(60 * MIB); // the weights were there
    expect(most).toBeLessThan(128 * MIB);

    const tooWide = client.generate(name, { ...request, weights: "f32" });
    await expect(tooWide.next()).rejects.toThrow("`weights` mxfp4 takes it");
    const tooLong = client.generate(name, { ...request, maxTokens: 1000 });
    await expect(tooLong.next()).rejects.toThrow(
      "of at most 455 tokens together",
    );
  },
);
