/**
 * What config.json says of a quantized directory, as its loader reads it. Sources: vLLM's and
 * compressed-tensors' `QuantizationConfig`, transformers' `Mxfp4Config`, mlx-lm's `load_model`, vLLM's
 * `QuarkConfig`.
 */
import { AppError } from "../api/errors.ts";
import type { Layout, Target } from "../api/scheme.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import type { RoleDecision } from "../formats/roles/role.ts";
import { takeApart } from "../formats/roles/tensor-name.ts";
import type { TensorHead } from "../formats/tensor.ts";
import type { TargetDecision, TargetLayout } from "./targets.ts";

/**
 * Layers that vLLM and SGLang run as one, all packed or none: a matrix for all of them has one scheme.
 * The module's name, then those of its parts.
 */
const FUSED = [
  ["q_proj", "k_proj", "v_proj"],
  ["gate_proj", "up_proj"],
  ["w1", "w3"],
  ["in_proj_qkv", "in_proj_z"],
  ["in_proj_b", "in_proj_a"],
  ["q_a_proj", "kv_a_proj_with_mqa"],
] as const;

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

/** What a former quantizer said is no longer so. */
export function plainConfig(config: ModelConfig | undefined): ModelConfig {
  const own = { ...config };
  delete own.quantization;
  delete own.quantization_config;
  return own;
}

/**
 * The config of a directory whose packed weights are in `layout`.
 * Errors: `invalid_option` for fused layers that differ
 */
export function layoutConfig(
  layout: Layout,
  heads: readonly TensorHead[],
  decisions: readonly RoleDecision[],
  config: ModelConfig | undefined,
): ModelConfig {
  const left = unpackedLinears(heads, decisions);
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
      checkFused(heads, decisions);
      return { ...own, quantization_config: compressedTensors(left) };
    case "quark":
      checkFused(heads, decisions);
      return { ...own, quantization_config: quark(left) };
    case "mlx": {
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

function checkFused(
  heads: readonly TensorHead[],
  decisions: readonly RoleDecision[],
): void {
  const packed = new Map<string, boolean>();
  heads.forEach(({ name }, i) => {
    const { owner, leaf } = takeApart(name);
    if (leaf === "weight") packed.set(owner, decisions[i]!.packed);
  });
  for (const owner of packed.keys()) {
    const at = owner.lastIndexOf(".") + 1;
    const group = FUSED.find(([first]) => first === owner.slice(at));
    if (!group) continue;
    const parts = group.map((part) => owner.slice(0, at) + part);
    const told = parts.filter((part) => packed.has(part));
    const first = packed.get(owner);
    const other = told.find((part) => packed.get(part) !== first);
    if (other === undefined) continue;
    throw new AppError(
      "invalid_option",
      `Expected ${told.join(", ")} to be packed together or not at all, since their loader runs them as one, got ${owner} ${first ? "packed" : "kept"} and ${other} ${first ? "kept" : "packed"}`,
    );
  }
}
