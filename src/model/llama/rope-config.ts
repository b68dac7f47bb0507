/** Converts rotary positions to transformers' config.json, and back. */
import { shown } from "../../api/option-kinds.ts";
import type { LlamaShape, RopeScaling } from "../../api/run-config.ts";
import { yarnAttention } from "../../checkpoints/yarn.ts";
import { invalidConfig } from "../shape-checks.ts";

type Config = Readonly<Record<string, unknown>>;
type Rope = Pick<LlamaShape, "ropeBase" | "ropeScaling">;

const DEFAULT_BASE = 10_000;
const TYPES = ["default", "linear", "llama3", "yarn", "longrope"] as const;

/**
 * From `rope_scaling` (older files, takes precedence) or `rope_parameters`, and keys beside them. Errors:
 * `invalid_config` for unsupported ones
 */
export function ropeOf(
  config: Config,
  context: number,
  headWidth: number,
): Rope {
  const { rope_scaling: scaling, rope_parameters: told } = config;
  const key = scaling ? "rope_scaling" : "rope_parameters";
  const parameters = (scaling || told) ?? {};
  if (typeof parameters !== "object" || Array.isArray(parameters))
    throw unlike(`an object \`${key}\``, parameters);
  const own = parameters as Config;
  const type = TYPES.find((each) => each === typeOf(own));
  if (type === undefined)
    throw unlike(`\`rope_type\` ${TYPES.join(", ")}`, typeOf(own));
  const partial = own.partial_rotary_factor ?? 1;
  if (partial !== 1) throw unlike("`partial_rotary_factor` null or 1", partial);
  const [nested] = Object.entries(own).filter(
    ([, value]) =>
      typeof value === "object" && value !== null && !Array.isArray(value),
  );
  if (nested)
    throw unlike(`\`${key}\` that all layers share`, Object.fromEntries([nested])); // prettier-ignore
  const base = own.rope_theta === undefined ? config : own;
  const ropeBase = positiveIn(base, "rope_theta", DEFAULT_BASE);
  if (type === "default") return { ropeBase };
  if (type === "longrope")
    return { ropeBase, ropeScaling: factorsOf(own, headWidth / 2) };
  const original = positiveIn(config.original_max_position_embeddings === undefined ? own : config, "original_max_position_embeddings", context); // prettier-ignore
  return { ropeBase, ropeScaling: scalingOf(type, own, original) };
}

function typeOf({ rope_type: type, type: olderName }: Config): unknown {
  return type ?? olderName ?? "default";
}

/** With different lists, a text's first tokens would depend on its length. */
function factorsOf(
  { short_factor: short, long_factor: long, attention_factor: factor }: Config,
  pairs: number,
): RopeScaling {
  const isList = (list: unknown): list is number[] =>
    Array.isArray(list) &&
    list.length === pairs &&
    list.every((value) => typeof value === "number" && value > 0);
  if (!isList(long) || JSON.stringify(short) !== JSON.stringify(long))
    throw unlike(`\`short_factor\` equal to \`long_factor\`, ${pairs} numbers above 0`, short); // prettier-ignore
  if (factor !== 1) throw unlike("`attention_factor` 1", factor ?? null);
  return { type: "factors", factors: long };
}

function scalingOf(
  type: Exclude<RopeScaling["type"], "factors">,
  own: Config,
  originalContext: number,
): RopeScaling {
  const factor = positiveIn(own, "factor");
  switch (type) {
    case "linear":
      return { type, factor };
    case "llama3": {
      const lowFrequencyFactor = positiveIn(own, "low_freq_factor");
      const highFrequencyFactor = positiveIn(own, "high_freq_factor");
      if (!(highFrequencyFactor > lowFrequencyFactor))
        throw unlike(
          `\`high_freq_factor\` above \`low_freq_factor\`, ${lowFrequencyFactor}`,
          highFrequencyFactor,
        );
      return {
        type,
        factor,
        lowFrequencyFactor,
        highFrequencyFactor,
        originalContext,
      };
    }
    case "yarn": {
      const { truncate = true } = own;
      if (typeof truncate !== "boolean")
        throw unlike("`truncate` true or false", truncate);
      return {
        type,
        factor,
        betaFast: positiveIn(own, "beta_fast", 32),
        betaSlow: positiveIn(own, "beta_slow", 1),
        originalContext,
        attentionFactor: yarnAttention(factor, (key) =>
          own[key] ? positiveIn(own, key) : undefined,
        ),
        truncate,
      };
    }
  }
}

/** For transformers 5 and later, and for earlier versions. */
export function ropeConfig({ ropeBase, ropeScaling }: Rope) {
  const scaling = ropeScaling && scalingConfig(ropeScaling);
  return {
    rope_parameters: {
      rope_theta: ropeBase,
      rope_type: "default",
      ...scaling,
    },
    rope_theta: ropeBase,
    ...(scaling && { rope_scaling: { rope_theta: ropeBase, ...scaling } }),
  };
}

function scalingConfig(scaling: RopeScaling): Record<string, unknown> {
  if (scaling.type === "factors") {
    const { factors } = scaling;
    return {
      rope_type: "longrope",
      factor: 1,
      short_factor: factors,
      long_factor: factors,
      attention_factor: 1,
    };
  }
  const { type: rope_type, factor } = scaling;
  switch (scaling.type) {
    case "linear":
      return { rope_type, factor };
    case "llama3":
      return {
        rope_type,
        factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalContext,
      };
    case "yarn":
      return {
        rope_type,
        factor,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        original_max_position_embeddings: scaling.originalContext,
        attention_factor: scaling.attentionFactor,
        truncate: scaling.truncate,
      };
  }
}

/** Without `fallback`, the key is required. */
export function positiveIn(
  config: Config,
  key: string,
  fallback?: number,
): number {
  const value = config[key] ?? fallback;
  if (typeof value === "number" && value > 0 && value < Infinity) return value;
  throw unlike(`\`${key}\` above 0`, value ?? null);
}

export function unlike(expected: string, got: unknown) {
  return invalidConfig(`config.json of a Llama with ${expected}`, shown(got));
}
