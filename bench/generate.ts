/**
 * `generate/<weights>/<parameters>`: the next token of a text of 64, with the cache (src/model/gpt2/decoder.ts), in Node. Inside the
 * clock: all but the sampler. What the weights are makes no difference to the time: they are one number.
 */
import { PanelWeights } from "../src/generation/panel-weights.ts";
import type { WeightFormat } from "../src/kernels/decode.ts";
import { architectureOf, decoderOf } from "../src/model/architectures.ts";
import { KeyValueCache } from "../src/model/key-value-cache.ts";
import type { ModelShape } from "../src/api/run-config.ts";
import { MODEL_PRESETS } from "../src/cli/train/presets.ts";
import type { KernelBenchmark } from "./benchmark.ts";

/** Tokens that the cache has already. */
export const PAST_TOKENS = 64;
/** E8M0 of 2^−7; as a code it is 6 and −0. */
const BYTE = 120;

const GPT2 = { layers: 12, width: 768, heads: 12, context: 1024 };

export const GENERATE_MODELS: Record<string, ModelShape> = {
  "0.8M": { ...MODEL_PRESETS.tiny, vocabulary: 256 },
  "10M": { ...MODEL_PRESETS.medium, vocabulary: 256 },
  "124M": { ...GPT2, vocabulary: 50_257 },
};

export const GENERATE_GROUPS = Object.entries(GENERATE_MODELS).map(
  ([name, shape]) => ({
    name: `generate ${name}`,
    benchmarks: (["f32", "mxfp4"] as const).map((format): KernelBenchmark => ({
      name: `generate/${format}/${name}`,
      unit: "tokens/s",
      work: 1,
      baselines: format === "f32" ? [] : [`generate/f32/${name}`],
      setup: () => setup(shape, format),
    })),
  }),
);

/** The last one: a model of 124 M parameters is not to be made for each sample. */
let made: { key: string; iterate: () => void; free: () => void } | undefined;

function setup(shape: ModelShape, format: WeightFormat): () => void {
  const key = `${format} ${JSON.stringify(shape)}`;
  if (made?.key !== key) {
    made?.free();
    made = { key, ...make(shape, format) };
  }
  return made.iterate;
}

function make(
  shape: ModelShape,
  format: WeightFormat,
): { iterate: () => void; free: () => void } {
  const decoder = decoderOf(architectureOf(shape).huggingFaceConfig(shape));
  const weights = new PanelWeights(decoder, format);
  for (const { name, kind } of decoder.tensors)
    if (kind === "values") weights.floats(name).fill(0.01);
    else if (format === "mxfp4") weights.matrix(name).bytes.fill(BYTE);
    else new Float32Array(weights.matrix(name).bytes.buffer).fill(0.01);
  const cache = new KeyValueCache(decoder, PAST_TOKENS + 1);
  for (let token = 0; token < PAST_TOKENS; token++)
    decoder.forward(weights, cache, [token]);
  return {
    iterate() {
      cache.length = PAST_TOKENS;
      decoder.forward(weights, cache, [PAST_TOKENS]);
    },
    free() {
      weights.free();
      cache.free();
    },
  };
}
