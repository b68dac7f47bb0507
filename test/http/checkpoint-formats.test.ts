/** `GET /v1/runs/:run/checkpoint?format=`: what transformers and llama.cpp load; test/node/model-folder.test.ts asks them. */
import { reset } from "cloudflare:test";
import { afterEach, describe, expect, test } from "vitest";
import { SCHEME_PRESETS } from "../../src/api/presets.ts";
import { planFolderGguf } from "../../src/checkpoints/gguf/folder-gguf.ts";
import { readInOrder } from "../../src/checkpoints/tensor-reads.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { readGgufHead } from "../../src/formats/containers/gguf-reader.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { collect } from "../support/files.ts";
import "../support/kernels.ts";
import { call, startScripted } from "../support/run.ts";
import { untarred } from "../support/untarred.ts";
import { problemOf } from "./support.ts";

afterEach(reset);

describe("a checkpoint as others load it", () => {
  test("as a directory of transformers in a tar, whose weights are the checkpoint", async () => {
    const { run } = await startScripted({ shards: 3 });
    const plain = await (await run.checkpoint()).bytes();
    const response = await run.checkpoint("hf");
    const tar = await response.bytes();
    expect(response.headers.get("Content-Type")).toBe("application/x-tar");
    expect(response.headers.get("Content-Length")).toBe(`${tar.length}`);
    expect(response.headers.get("Content-Disposition")).toContain(
      `${run.run}-step-0.tar`,
    );
    const files = untarred(tar);
    expect([...files.keys()]).toEqual([
      "model/config.json",
      "model/generation_config.json",
      "model/tokenizer.json",
      "model/tokenizer_config.json",
      "model/model.safetensors",
    ]);
    expect(files.get("model/model.safetensors")).toEqual(plain);
    const config: unknown = JSON.parse(
      new TextDecoder().decode(files.get("model/config.json")),
    );
    expect(config).toMatchObject({
      architectures: ["GPT2LMHeadModel"],
      model_type: "gpt2",
      n_embd: 64,
      vocab_size: 256,
      activation_function: "gelu_new",
      tie_word_embeddings: true,
    });
    expect(await (await run.checkpoint("hf")).bytes()).toEqual(tar);
  });

  test.each([
    ["gguf", 0, 0],
    ["gguf-mxfp4", 39, 8],
  ] as const)(
    "as %s, of which llama.cpp has type %i",
    async (format, type, head) => {
      const { run } = await startScripted({ shards: 2 });
      const response = await run.checkpoint(format);
      const file = await response.bytes();
      expect(response.headers.get("Content-Length")).toBe(`${file.length}`);
      const source = sourceOf(file);
      const first = (await source.take(8)).slice();
      const { gguf } = await readGgufHead(source, first, file.length);
      const types = new Map(gguf.tensors.map((each) => [each.name, each.type]));
      expect(types.get("blk.0.ffn_up.weight")).toBe(type);
      expect(types.get("token_embd.weight")).toBe(head);
      expect(types.get("blk.0.attn_norm.weight")).toBe(0);
      const folder = untarred(await (await run.checkpoint("hf")).bytes());
      expect(file).toEqual(await madeHere(folder, format === "gguf"));
    },
  );

  test("another format is refused", async () => {
    const { run } = await startScripted({});
    const path = `/v1/runs/${run.run}/checkpoint?format=onnx`;
    const { detail } = await problemOf(
      await call("GET", path),
      422,
      "invalid_option",
    );
    expect(detail).toContain("one of safetensors, hf, gguf, gguf-mxfp4");
  });
});

/** The GGUF of a directory that is in memory. */
async function madeHere(
  files: ReadonlyMap<string, Uint8Array>,
  asF32: boolean,
): Promise<Uint8Array> {
  const weights = files.get("model/model.safetensors")!;
  const file = {
    bytes: weights.length,
    read: (start: number, end: number) =>
      Promise.resolve(weights.slice(start, end)),
  };
  const folder = {
    list: () => Promise.resolve([...files.keys()].map((name) => name.slice(6))),
    text: (name: string) =>
      Promise.resolve(
        files.has(`model/${name}`)
          ? new TextDecoder().decode(files.get(`model/${name}`))
          : undefined,
      ),
    open: () => Promise.resolve(file),
  };
  const { reads, conversion } = await planFolderGguf(folder, "model", {
    scheme: { ...DEFAULT_SCHEME, ...SCHEME_PRESETS.ggml },
    selection: { include: [], exclude: [] },
    output: "q8_0",
    types: asF32 ? ["*=f32"] : [],
  });
  const source = readInOrder(
    reads,
    new Map([["model.safetensors", file]]),
    () => {},
  );
  return collect(conversion(), source);
}
