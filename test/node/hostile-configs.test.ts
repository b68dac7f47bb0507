/** Numbers in a config.json that no model has: tables of their length would take all memory. */
import { expect, test } from "vitest";
import { AppError } from "../../src/api/errors.ts";
import { planFolderAnalysis } from "../../src/checkpoints/analyze-plan.ts";
import { checkpointOf } from "../../src/checkpoints/checkpoint.ts";
import { vocabularyPairs } from "../../src/checkpoints/gguf/vocabulary.ts";
import { inspect } from "../../src/checkpoints/inspect.ts";
import { folderIn } from "../support/text-models.ts";

function llama(config: object) {
  const shapes = {
    "model.embed_tokens.weight": [64, 64],
    "model.layers.0.self_attn.q_proj.weight": [64, 64],
    "model.norm.weight": [64],
  };
  const tensors = Object.entries(shapes).map(([name, shape]) => ({
    name,
    dtype: "F32" as const,
    shape,
    start: 0,
    end: 4 * shape.reduce((count, size) => count * size, 1),
  }));
  return checkpointOf(new Map([["model.safetensors", tensors]]), undefined, {
    model_type: "llama",
    hidden_size: 64,
    num_attention_heads: 2,
    num_hidden_layers: 1,
    intermediate_size: 64,
    vocab_size: 64,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    ...config,
  });
}

test.each([
  [{ head_dim: 2 ** 53 }, `${2 ** 53}`],
  [{ head_dim: 2 ** 31 - 2 }, "2147483646"],
  [{ head_dim: 4098 }, "4098"],
  [{ head_dim: 1e308 }, "1e\\+308"],
  [{ head_dim: 31 }, "31"],
  [{ head_dim: 2.5 }, "2\\.5"],
  [{ head_dim: 0 }, "0"],
  [{ head_dim: -32 }, "-32"],
  [{ hidden_size: 2 ** 31 - 2, num_attention_heads: 1 }, "2147483646"],
  [{ num_attention_heads: 0 }, "Infinity"],
])(
  "heads that llama.cpp cannot have are told by their length: %j",
  (config, got) => {
    const words = new RegExp(
      `Expected config\\.json to have attention heads of an even length from 2 to 4096, got ${got}$`,
    );
    const checkpoint = llama(config);
    const { loaders } = inspect(checkpoint);
    const gguf = loaders.find(({ loader }) => loader === "llama.cpp")!;
    expect(gguf.refusals.some((each) => words.test(each))).toBe(true);
    expect(() => planFolderAnalysis(checkpoint, { for: "llama.cpp" })).toThrow(
      words,
    );
  },
);

test("a token table of more rows than a GGUF's header can name is refused", async () => {
  for (const rows of [2 ** 22 + 1, 2 ** 31 - 1, 2 ** 40]) {
    const error = await vocabularyPairs(folderIn(new Map()), rows, {}).catch(
      (cause: unknown) => cause,
    );
    expect(error).toBeInstanceOf(AppError);
    expect((error as AppError).message).toBe(
      `Expected a token table of at most 4194304 rows, got ${rows}`,
    );
  }
});
