/**
 * The quantization part of config.json, as loaders read it. Sources: vLLM's and compressed-tensors'
 * `QuantizationConfig`, transformers' `Mxfp4Config`, mlx-lm's `load_model`, vLLM's `QuarkConfig`.
 */
import { isObject } from "../api/json.ts";
import type { Layout, Target } from "../api/scheme.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import type { Kind, RoleDecision } from "../formats/roles/role.ts";
import type { TensorHead } from "../formats/tensor.ts";
import { checkRunAsOne, checkStacks, keptExperts } from "./run-as-one.ts";
import type { TargetDecision, TargetLayout } from "./targets.ts";

/** The config of the directory for `decisions`. Errors: those of `layoutConfig` */
export function quantizedConfig(
  target: Target,
  heads: readonly TensorHead[],
  decisions: readonly TargetDecision[],
  config: ModelConfig | undefined,
): ModelConfig {
  const isGptOss = decisions.some(({ layout }) => layout === "gpt-oss");
  const layout = isGptOss ? "gpt-oss" : LAYOUT_OF[target];
  if (layout === undefined) return plainConfig(config);
  return layoutConfig(layout, heads, decisions, config);
}

/** Except for gpt-oss, which has its own layout. */
const LAYOUT_OF: Record<Target, TargetLayout | undefined> = {
  vllm: "compressed-tensors",
  transformers: undefined,
  mlx: "mlx",
  quark: "quark",
};

/** Keys of quantizers; the second is of compressed-tensors' first releases, the third of MLX. */
const OWN_KEYS = ["quantization_config", "compression_config", "quantization"];
/** In nested text and vision models, the last key may mean something else. */
const KEYS_WITHIN = OWN_KEYS.slice(0, 2);

/** Removes the keys of a previous quantizer, also in nested models. */
export function plainConfig(
  config: ModelConfig | undefined,
  keys = OWN_KEYS,
): ModelConfig {
  const kept = Object.entries(config ?? {}).filter(
    ([key]) => !keys.includes(key),
  );
  return Object.fromEntries(
    kept.map(([key, value]) => [
      key,
      isObject(value) ? plainConfig(value, KEYS_WITHIN) : value,
    ]),
  );
}

/** Whether the config, or that of a nested model, has a quantizer's keys. */
export function isQuantized(
  config: ModelConfig | undefined,
  keys = OWN_KEYS,
): boolean {
  return Object.entries(config ?? {}).some(
    ([key, value]) =>
      isObject(value) &&
      (keys.includes(key) || isQuantized(value, KEYS_WITHIN)),
  );
}

/** The config of a directory whose quantized weights are in `layout`. Errors: those of `checkRunAsOne` */
export function layoutConfig(
  layout: Layout,
  heads: readonly TensorHead[],
  decisions: readonly RoleDecision[],
  config: ModelConfig | undefined,
): ModelConfig {
  const experts = keptExperts(heads, decisions);
  const left = [
    ...unpackedLinears(heads, decisions),
    ...tiedHead(decisions, config),
    ...experts,
  ];
  const leftAndWithin = [...new Set([...left, ...experts.flatMap(within)])];
  const own = plainConfig(config);
  switch (layout) {
    case "gpt-oss": {
      const quantization_config = {
        quant_method: "mxfp4",
        modules_to_not_convert: left,
      };
      return { ...own, quantization_config };
    }
    case "compressed-tensors":
      checkRunAsOne(heads, decisions);
      return { ...own, quantization_config: compressedTensors(leftAndWithin) };
    case "quark":
      checkRunAsOne(heads, decisions);
      return { ...own, quantization_config: quark(leftAndWithin) };
    case "mlx": {
      checkStacks(heads, decisions);
      const quantization = { group_size: 32, bits: 4, mode: "mxfp4" };
      return { ...own, quantization, quantization_config: quantization };
    }
    case "ggml":
    case "openai":
    case "deepseek":
    case "f4":
      // No loader reads these layouts: one that is asked to reports the layout's name.
      return { ...own, quantization_config: { quant_method: layout } };
  }
}

/** Linear layers, to a loader, that are not quantized. */
function unpackedLinears(
  heads: readonly TensorHead[],
  decisions: readonly RoleDecision[],
): string[] {
  const names = heads.flatMap(({ name }, i) => {
    const { kind, packed } = decisions[i]!;
    if (packed || !["linear", "router", "head"].includes(kind)) return [];
    return [name.replace(/\.?(\w+_proj_)?weight$/, "")];
  });
  return [...new Set(names)];
}

/**
 * An output head tied to the token embedding has no tensor, but transformers creates a linear layer for it, which
 * compressed-tensors and Quark would take for a quantized one unless it is listed.
 */
function tiedHead(
  decisions: readonly RoleDecision[],
  config: ModelConfig | undefined,
): string[] {
  const has = (wanted: Kind) => decisions.some(({ kind }) => kind === wanted);
  const { tie_word_embeddings: tied, architectures } = config ?? {};
  const isTied = has("embedding") && !has("head") && tied !== false;
  return isTied && generatesText(architectures) ? ["lm_head"] : [];
}

/** By the class name: `LlamaForCausalLM`, `GPT2LMHeadModel`, `Gemma3ForConditionalGeneration`; true if unknown. */
function generatesText(architectures: unknown): boolean {
  if (!Array.isArray(architectures)) return true;
  const heads = /(ForCausalLM|LMHeadModel|ForConditionalGeneration)$/;
  return architectures.some((name) => heads.test(String(name)));
}

/**
 * vLLM looks up these names, whatever the experts' own. Not as a pattern: vLLM renames listed modules by their prefixes
 * (`model.language_model.` to `language_model.model.`).
 */
function within(module: string): string[] {
  const asked = ["gate_proj", "up_proj", "down_proj"];
  return asked.map((name) => `${module}.0.${name}`);
}

function compressedTensors(ignore: readonly string[]): ModelConfig {
  const weights = {
    num_bits: 4,
    type: "float",
    symmetric: true,
    strategy: "group",
    group_size: 32,
    dynamic: false,
    scale_dtype: "torch.uint8",
  };
  return {
    quant_method: "compressed-tensors",
    format: "mxfp4-pack-quantized",
    quantization_status: "compressed",
    config_groups: {
      group_0: { targets: ["Linear"], weights, input_activations: null },
    },
    ignore,
  };
}

function quark(exclude: readonly string[]): ModelConfig {
  const weight = {
    dtype: "fp4",
    qscheme: "per_group",
    group_size: 32,
    ch_axis: -1,
    is_dynamic: false,
    scale_format: "e8m0",
  };
  return {
    quant_method: "quark",
    quant_mode: "eager_mode",
    global_quant_config: {
      weight,
      input_tensors: null,
      output_tensors: null,
      bias: null,
    },
    layer_quant_config: {},
    layer_type_quant_config: {},
    exclude,
    export: {
      weight_format: "real_quantized",
      pack_method: "reorder",
      kv_cache_group: [],
    },
  };
}
