/**
 * Linear layers that a loader runs in floats, or transforms while loading, whatever its config says about quantized
 * ones. Sources: the models of vLLM (whose rules also apply to Quark's directories, with SGLang), and mlx-lm's
 * `sanitize`.
 */
import type { Target } from "../api/scheme.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import { partWords, takeApart } from "../formats/roles/tensor-name.ts";

type Rule = {
  loaders: readonly Target[];
  names: RegExp;
  /** For this `model_type` only. */
  model?: string;
  when?: (config: ModelConfig) => boolean;
  /** Names, next to the layer's module, of which one must exist for the rule to apply. */
  beside?: readonly string[];
  why: string;
};

const VLLM = ["vllm", "quark"] as const;

/** Models whose experts, one by one in a checkpoint, mlx-lm stacks together with their scales. */
const STACKED_PACKED = [
  "afmoe",
  "bailing_moe",
  "bailing_moe_linear",
  "deepseek",
  "deepseek_v2",
  "deepseek_v3",
  "deepseek_v32",
  "dots1",
  "exaone_moe",
  "glm4_moe",
  "glm4_moe_lite",
  "glm_moe_dsa",
  "hunyuan",
  "jamba",
  "joyai_llm_flash",
  "kimi_k2",
  "kimi_k25",
  "kimi_vl",
  "longcat_flash",
  "longcat_flash_ngram",
  "mimo_v2_flash",
  "mixtral",
  "olmoe",
  "phimoe",
  "qwen2_moe",
  "solar_open",
];

const RULES: readonly Rule[] = [
  {
    loaders: VLLM,
    names: /(^|\.)(in|x|dt|out)_proj\.weight$/,
    beside: ["x_proj.weight"],
    why: "a selective scan's (Mamba's first), which vLLM runs in floats",
  },
  {
    loaders: VLLM,
    model: "modernbert",
    names: /\.(Wqkv|Wi|Wo)\.weight$/,
    why: "vLLM runs all of ModernBERT in floats",
  },
  {
    loaders: VLLM,
    names: /(^|\.)out_proj\.weight$/,
    beside: ["in_proj_weight", "q_proj_weight"],
    why: "torch's MultiheadAttention reads it, in floats",
  },
  {
    loaders: VLLM,
    names: /(^|\.)indexer\.(wk|weights_proj)\.weight$/,
    why: "vLLM runs the keys and weights of an indexer as one layer, in floats",
  },
  {
    loaders: VLLM,
    names: /(^|\.)(eh_proj|(text|visual)_projection)\.weight$/,
    why: "vLLM runs this projection in floats",
  },
  {
    loaders: VLLM,
    names:
      /^\D*(?<![^.])(pooler|pre_classifier|classifier|classification_head|predictions|lm_head|head)\.\D*weight$/,
    why: "vLLM runs the layers of a pooler or head in floats",
  },
  {
    loaders: ["mlx"],
    names: /\.experts\.\d+\./,
    when: ({ model_type: type }) => !STACKED_PACKED.includes(String(type)),
    why: "mlx stacks experts of this model as it loads them, and not packed ones",
  },
  {
    loaders: ["mlx"],
    names: /(^|\.)kv_b_proj\.weight$/,
    why: "mlx takes it apart as it loads it, and of packed ones affine integers alone",
  },
  {
    loaders: ["mlx"],
    model: "falcon_h1",
    names: /(q|k|key|o|out|gate|down|in)_proj\.weight$/,
    why: "mlx multiplies it by a number of the config as it loads it",
  },
  {
    loaders: ["mlx"],
    model: "lfm2_moe",
    names: /\.w[123]\.weight$/,
    why: "mlx renames it as it loads it, and not its scales",
  },
  {
    loaders: ["mlx"],
    model: "kimi_linear",
    names: /\.block_sparse_moe\.shared_experts\..+\.weight$/,
    why: "mlx renames it as it loads it, and not its scales",
  },
  {
    loaders: ["mlx"],
    model: "granitemoehybrid",
    when: ({ num_local_experts: experts }) => !experts,
    names: /\.shared_mlp\.(input|output)_linear\.weight$/,
    why: "mlx takes gates and ups apart as it loads them, and not packed ones",
  },
];

/** Why `target` loads a layer of a model only in floats; undefined if it loads it quantized. */
export function floatLayers(
  target: Target,
  names: Iterable<string>,
  config: ModelConfig = {},
): (name: string) => string | undefined {
  const all = new Set(names);
  const rules = RULES.filter(
    ({ loaders, model, when }) =>
      loaders.includes(target) &&
      (model === undefined || model === config.model_type) &&
      (when === undefined || when(config)),
  );
  const isBeside = (name: string, siblings: readonly string[]) => {
    const { owner } = takeApart(name);
    const parent = owner.slice(0, owner.lastIndexOf(".") + 1);
    return siblings.some((sibling) => all.has(parent + sibling));
  };
  return (name) =>
    rules.find(
      ({ names: pattern, beside }) =>
        pattern.test(name) && (beside === undefined || isBeside(name, beside)),
    )?.why;
}

/** Words in names of non-text encoders and their projectors. */
const MODALITY =
  /^(vision|visual|image|images|img|video|audio|speech|sound|vit|vpm|apm|sam|perceiver|resampler|multimodal|modal|mm|connector|aligner)$/;
/** InternVL's projector, which has none of these words. */
const PROJECTOR = "mlp1";

/**
 * Whether a tensor belongs to an image or audio encoder or its projector: by the parts of its name before the first
 * number.
 */
export function isOfTower(name: string): boolean {
  const parts = name.split(".");
  const number = parts.findIndex((part) => /^\d+$/.test(part));
  const above = parts.slice(0, number < 0 ? -1 : number);
  return above.some(
    (part) =>
      part === PROJECTOR || partWords(part).some((word) => MODALITY.test(word)),
  );
}
