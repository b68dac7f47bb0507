/**
 * Compares the sizes in config.json with the tensors' shapes: loaders build the model from the config and refuse
 * tensors that differ.
 */
import { shown } from "../api/option-kinds.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import type { TensorHead } from "../formats/tensor.ts";
import { isFloat } from "../formats/dtype.ts";
import { CONFIG_FILE } from "./checkpoint.ts";

/** An axis of a matrix, and the config value that gives its size. */
type Size = {
  name: RegExp;
  axis: 0 | 1;
  key: string;
  size: (config: ModelConfig) => unknown;
};

const own = (key: string) => (config: ModelConfig) => config[key];
/** The width of all heads together; undefined if one of the numbers is missing. */
const together =
  (heads: (config: ModelConfig) => unknown) => (config: ModelConfig) => {
    const count = heads(config);
    const {
      head_dim: told,
      hidden_size: width,
      num_attention_heads: all,
    } = config;
    const own =
      told ?? (isNumber(width) && isNumber(all) ? width / all : undefined);
    return isNumber(count) && isNumber(own) ? count * own : undefined;
  };
const inner = ({ n_inner: told, n_embd: width }: ModelConfig) =>
  told ?? (isNumber(width) ? 4 * width : undefined);

const SIZES: readonly Size[] = [
  { name: /^(?:model\.)?embed_tokens\.weight$/, axis: 1, key: "hidden_size", size: own("hidden_size") }, // prettier-ignore
  { name: /\.mlp\.(?:gate|up)_proj\.weight$/, axis: 0, key: "intermediate_size", size: own("intermediate_size") }, // prettier-ignore
  { name: /\.mlp\.down_proj\.weight$/, axis: 1, key: "intermediate_size", size: own("intermediate_size") }, // prettier-ignore
  { name: /\.self_attn\.q_proj\.weight$/, axis: 0, key: "num_attention_heads` times `head_dim", size: together(own("num_attention_heads")) }, // prettier-ignore
  { name: /\.self_attn\.[kv]_proj\.weight$/, axis: 0, key: "num_key_value_heads` times `head_dim", size: together((config) => config.num_key_value_heads ?? config.num_attention_heads) }, // prettier-ignore
  { name: /^(?:transformer\.)?wte\.weight$/, axis: 1, key: "n_embd", size: own("n_embd") }, // prettier-ignore
  { name: /^(?:transformer\.)?wpe\.weight$/, axis: 0, key: "n_positions", size: own("n_positions") }, // prettier-ignore
  { name: /\bh\.\d+\.mlp\.c_fc\.weight$/, axis: 1, key: "n_inner", size: inner }, // prettier-ignore
];

const LAYER = /^(?:(?:model\.)?layers|(?:transformer\.)?h)\.(\d+)\./;
const HEADLESS = /^model\.embed_tokens\.weight$/;
const HEAD = /^lm_head\./;

/** A message for each size, about the first tensor that differs. */
export function unlikeTensors(
  config: ModelConfig,
  tensors: readonly TensorHead[],
): string[] {
  const problems = SIZES.flatMap(({ name, axis, key, size }) => {
    const expected = size(config);
    if (!isNumber(expected)) return [];
    const other = tensors.find(
      ({ name: tensor, dtype, shape }) =>
        name.test(tensor) &&
        isFloat(dtype) &&
        shape.length === 2 &&
        shape[axis] !== expected,
    );
    return other
      ? [
          `Expected ${CONFIG_FILE} with the \`${key}\` of "${other.name}" [${other.shape.join(", ")}], ${other.shape[axis]}, got ${expected}`,
        ]
      : [];
  });
  return [
    ...new Set([
      ...problems,
      ...layerProblems(config, tensors),
      ...headProblems(config, tensors),
    ]),
  ];
}

function layerProblems(
  config: ModelConfig,
  tensors: readonly TensorHead[],
): string[] {
  const told = config.num_hidden_layers ?? config.n_layer;
  const numbers = tensors.flatMap(({ name }) => LAYER.exec(name)?.[1] ?? []);
  const there = new Set(numbers).size;
  if (!isNumber(told) || there === 0 || told === there) return [];
  const key =
    config.num_hidden_layers === undefined ? "n_layer" : "num_hidden_layers";
  return [
    `Expected ${CONFIG_FILE} with a \`${key}\` of the ${there} layers that have tensors, got ${told}`,
  ];
}

/** A causal model with an untied head must have a head tensor; loaders would initialize it randomly. */
function headProblems(
  { tie_word_embeddings: tied, architectures }: ModelConfig,
  tensors: readonly TensorHead[],
): string[] {
  const [type] = Array.isArray(architectures)
    ? (architectures as unknown[])
    : [];
  const writes = typeof type === "string" && type.endsWith("ForCausalLM");
  const has = (name: RegExp) =>
    tensors.some((tensor) => name.test(tensor.name));
  if (tied !== false || !writes || !has(HEADLESS) || has(HEAD)) return [];
  return [
    `Expected "lm_head.weight", since ${CONFIG_FILE} of a ${shown(type)} has \`tie_word_embeddings\` false, got none`,
  ];
}

function isNumber(value: unknown): value is number {
  return typeof value === "number";
}
