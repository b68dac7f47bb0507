/** Whether a loader can load a quantized directory as it is: by layout, names and config. */
import type { Layout, Target } from "../api/scheme.ts";
import type { Dtype } from "../formats/dtype.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import type { RoleDecision } from "../formats/roles/role.ts";
import type { TensorHead } from "../formats/tensor.ts";
import { CONFIG_FILE } from "./checkpoint.ts";
import { decideFor, type TargetLayout } from "./targets.ts";

/** The name of each layout in config.json. */
const METHODS: Record<TargetLayout, string> = {
  "compressed-tensors": "compressed-tensors",
  "gpt-oss": "mxfp4",
  quark: "quark",
  mlx: "mxfp4",
};

/** A weight of the model under its decoded name. */
export type StoredWeight = {
  head: TensorHead<Dtype>;
  decision: RoleDecision;
  /** Null if not quantized. */
  layout: Layout | null;
};

/** The reasons; empty if it loads the directory. */
export function whyNotLoaded(
  loader: Target,
  weights: readonly StoredWeight[],
  config: ModelConfig | undefined,
): string[] {
  const made = decideFor(
    loader,
    weights.map(({ head }) => head),
    weights.map(({ decision, layout }) => ({
      ...decision,
      packed: layout !== null,
    })),
    config,
    true,
  );
  const told = methodsIn(config);
  const reasons = weights.map(({ decision, layout }, i) => {
    if (layout === null) return undefined;
    const own = made[i]!;
    if (!own.packed) return own.reason.slice(decision.reason.length + 2);
    if (own.layout !== layout)
      return `its weights are in layout ${layout} that ${loader} does not read: repack them, or dequantize the directory`;
    const method = METHODS[own.layout!];
    if (told.includes(method)) return undefined;
    return `${CONFIG_FILE} says ${told.join(", ") || "nothing"} of how it is quantized, where ${loader} expects ${method}`;
  });
  return [...new Set(reasons.filter((reason) => reason !== undefined))];
}

/** Under the keys that loaders read. */
function methodsIn(config: ModelConfig | undefined): string[] {
  return [config?.quantization_config, config?.quantization].flatMap((own) => {
    if (typeof own !== "object" || own === null) return [];
    const { quant_method, mode } = own as Record<string, unknown>;
    return [quant_method, mode].filter((each) => typeof each === "string");
  });
}
