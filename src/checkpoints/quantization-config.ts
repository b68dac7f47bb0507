/**
 * What config.json says of a quantized directory, as its loader reads it. Sources: vLLM's and
 * compressed-tensors' `QuantizationConfig`, transformers' `Mxfp4Config`, mlx-lm's `load_model`, vLLM's
 * `QuarkConfig`.
 */
import { isObject } from "../api/json.ts";
import type { Layout, Target } from "../api/scheme.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import type { Kind, RoleDecision } from "../formats/roles/role.ts";
import type { TensorHead } from "../formats/tensor.ts";
import { checkRunAsOne, checkStacks, keptExperts } from "./run-as-one.ts";
import type { TargetDecision, TargetLayout } from "./targets.ts";

/** The config of the directory that `decisions` make. Errors: those of `layoutConfig` */
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

/** But for gpt-oss, which each has in its own layout. */
const LAYOUT_OF: Record<Target, TargetLayout | undefined> = {
  vllm: "compressed-tensors",
  transformers: undefined,
  mlx: "mlx",
  quark: "quark",
};

/** What quantizers tell of themselves in: compressed-tensors' first releases had the second, MLX has the third. */
const OWN_KEYS = ["quantization_config", "compression_config", "quantization"];
/** The models within, text and vision, may have something else of the last name. */
const KEYS_WITHIN = OWN_KEYS.slice(0, 2);

/** What a former quantizer said is no longer so, of the models within neither. */
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

/** Whether the config tells of a quantizer, its own or that of a model within. */
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

/**
 * The config of a directory whose packed weights are in `layout`.
 * Errors: those of `checkRunAsOne` and `checkStacks`
 */
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
      // Of no loader: one that asks is told the layout, and refuses it by its name.
      return { ...own, quantization_config: { quant_method: layout } };
  }
}

/** Modules that a loader takes for linear layers and that are not packed. */
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
 * The output head that is the token embeddings: it has no tensor of its own, but transformers builds a linear layer
 * for it, which compressed-tensors and Quark would take for a packed one unless it is listed.
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

/** Unless its class is named otherwise: `LlamaForCausalLM`, `GPT2LMHeadModel`, `Gemma3ForConditionalGeneration`. */
function generatesText(architectures: unknown): boolean {
  if (!Array.isArray(architectures)) return true;
  const heads = /(ForCausalLM|LMHeadModel|ForConditionalGeneration)$/;
  return architectures.some((name) => heads.test(String(name)));
}

/**
 * vLLM asks for names of its own, whatever the experts are called. No pattern: vLLM renames what is listed as it
 * renames modules (`model.language_model.` to `language_model.model.`), by how a name begins.
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
