/** `GET /v1/runs/:run/checkpoint?format=`: what transformers and llama.cpp load; test/node/model-folder.test.ts asks them. */
import { reset } from "cloudflare:test";
import { afterEach, describe, expect, test } from "vitest";
import { SCHEME_PRESETS } from "../../src/api/presets.ts";
import { planFolderGguf } from "../../src/checkpoints/gguf/folder-gguf.ts";
import { readInOrder } from "../../src/checkpoints/tensor-reads.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { readGgufHead } from "../../src/formats/containers/gguf-reader.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { collect } from "../support/files.ts";
import "../support/kernels.ts";
import { call, startScripted, TINY } from "../support/run.ts";
import { untarred } from "../support/untarred.ts";
import { problemOf } from "./support.ts";

afterEach(reset);

describe("a checkpoint as others load it", () => {
  test("as a directory of transformers in a tar, whose weights are the checkpoint", async () => {
    const { run } = await startScripted({ shards: 3 });
    const plain = await (await run.checkpoint()).bytes();
    const response = await run.checkpoint({ format: "hf" });
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
    expect(await (await run.checkpoint({ format: "hf" })).bytes()).toEqual(tar);
  });

  test("of a Llama, as transformers has one", async () => {
    const model = { ...TINY.model, arch: "llama", tied: false } as const;
    const { run } = await startScripted({ model });
    const files = untarred(
      await (await run.checkpoint({ format: "hf" })).bytes(),
    );
    const config: unknown = JSON.parse(
      new TextDecoder().decode(files.get("model/config.json")),
    );
    expect(config).toMatchObject({
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      num_key_value_heads: 1,
      head_dim: 32,
      tie_word_embeddings: false,
    });
    const { tensors } = readSafetensors(files.get("model/model.safetensors")!);
    expect(tensors.map(({ name, shape }) => [name, shape])).toEqual([
      ["lm_head.weight", [256, 64]],
      ["model.embed_tokens.weight", [256, 64]],
      ["model.layers.0.input_layernorm.weight", [64]],
      ["model.layers.0.mlp.down_proj.weight", [64, 192]],
      ["model.layers.0.mlp.gate_proj.weight", [192, 64]],
      ["model.layers.0.mlp.up_proj.weight", [192, 64]],
      ["model.layers.0.post_attention_layernorm.weight", [64]],
      ["model.layers.0.self_attn.k_proj.weight", [32, 64]],
      ["model.layers.0.self_attn.o_proj.weight", [64, 64]],
      ["model.layers.0.self_attn.q_proj.weight", [64, 64]],
      ["model.layers.0.self_attn.v_proj.weight", [32, 64]],
      ["model.norm.weight", [64]],
    ]);
  });

  test.each([
    ["gguf", 0, 0, "gpt2"],
    ["gguf-mxfp4", 39, 8, "gpt2"],
    ["gguf", 0, 0, "llama"],
    ["gguf-mxfp4", 39, 8, "llama"],
  ] as const)(
    "as %s, of which llama.cpp has type %i",
    async (format, type, head, arch) => {
      const model = { ...TINY.model, arch };
      const { run } = await startScripted({ model, shards: 2 });
      const response = await run.checkpoint({ format });
      const file = await response.bytes();
      expect(response.headers.get("Content-Length")).toBe(`${file.length}`);
      const source = sourceOf(file);
      const first = (await source.take(8)).slice();
      const { gguf } = await readGgufHead(source, first, file.length);
      const types = new Map(gguf.tensors.map((each) => [each.name, each.type]));
      expect(types.get("blk.0.ffn_up.weight")).toBe(type);
      expect(types.get("token_embd.weight")).toBe(head);
      expect(types.get("blk.0.attn_norm.weight")).toBe(0);
      const folder = untarred(
        await (await run.checkpoint({ format: "hf" })).bytes(),
      );
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
