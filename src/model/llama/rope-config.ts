/** Converts rotary positions to transformers' config.json, and back. */
import { shown } from "../../api/option-kinds.ts";
import type { LlamaShape, RopeScaling } from "../../api/run-config.ts";
import { logarithm, yarnAttention } from "../../checkpoints/yarn.ts";
import { invalidConfig } from "../shape-checks.ts";

type Config = Readonly<Record<string, unknown>>;
type Rope = Pick<LlamaShape, "ropeBase" | "ropeScaling">;
/** `context`: up to which positions turn so; undefined if all do. */
type FoundRope = Rope & { context?: number };

const DEFAULT_BASE = 10_000;
const TYPES = ["default", "linear", "llama3", "yarn", "longrope"] as const;
/** Phi-3's class has these alone; its older files have other names for longrope. */
const PHI3_TYPES: Readonly<Record<string, (typeof TYPES)[number]>> = {
  default: "default",
  longrope: "longrope",
  su: "longrope",
  yarn: "longrope",
};
const PHI3_ORIGINAL_CONTEXT = 4096;

/**
 * From `rope_scaling` (older files, takes precedence) or `rope_parameters`, and keys beside them. Errors:
 * `invalid_config` for unsupported ones
 */
export function ropeOf(
  config: Config,
  context: number,
  headWidth: number,
): FoundRope {
  const { key, own } = parametersOf(config);
  const isPhi3 = config.model_type === "phi3";
  const type = isPhi3
    ? PHI3_TYPES[String(typeOf(own))]
    : TYPES.find((each) => each === typeOf(own));
  if (type === undefined)
    throw unlike(
      `\`rope_type\` ${(isPhi3 ? Object.keys(PHI3_TYPES) : TYPES).join(", ")}`,
      typeOf(own),
    );
  const [nested] = Object.entries(own).filter(
    ([, value]) =>
      typeof value === "object" && value !== null && !Array.isArray(value),
  );
  if (nested)
    throw unlike(
      `\`${key}\` that all layers share`,
      Object.fromEntries([nested]),
    );
  const base = own.rope_theta === undefined ? config : own;
  const ropeBase = positiveIn(base, "rope_theta", DEFAULT_BASE);
  if (type === "default") return { ropeBase };
  const original = positiveIn(
    config.original_max_position_embeddings === undefined ? own : config,
    "original_max_position_embeddings",
    isPhi3 ? PHI3_ORIGINAL_CONTEXT : context,
  );
  if (type === "longrope") {
    const pairs = rotaryWidthOf(config, headWidth) / 2;
    return { ropeBase, ...factorsOf(own, pairs, context, original) };
  }
  return { ropeBase, ropeScaling: scalingOf(type, own, original) };
}

/**
 * The channels of a head that turn, the first ones; all but in Phi-3's class. Errors: `invalid_config` for a share that is
 * none
 */
export function rotaryWidthOf(config: Config, headWidth: number): number {
  const { own } = parametersOf(config);
  const told = own.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  if (told === 1) return headWidth;
  if (config.model_type !== "phi3")
    throw unlike("`partial_rotary_factor` null or 1", told);
  const width = typeof told === "number" ? Math.trunc(headWidth * told) : 0;
  if (width > 0 && width < headWidth && width % 2 === 0) return width;
  throw unlike(
    `\`partial_rotary_factor\` of an even number of a head's ${headWidth} channels`,
    told,
  );
}

function parametersOf(config: Config): { key: string; own: Config } {
  const { rope_scaling: scaling, rope_parameters: told } = config;
  const key = scaling ? "rope_scaling" : "rope_parameters";
  const parameters = (scaling || told) ?? {};
  if (typeof parameters !== "object" || Array.isArray(parameters))
    throw unlike(`an object \`${key}\``, parameters);
  return { key, own: parameters as Config };
}

function typeOf({ rope_type: type, type: olderName }: Config): unknown {
  return type ?? olderName ?? "default";
}

/**
 * transformers takes the long list for a text of more than `original` positions, from its first on. Lists that differ would
 * so make a text's beginning depend on its length: then the short one holds, and the context ends with it.
 */
function factorsOf(
  own: Config,
  pairs: number,
  context: number,
  original: number,
): Pick<FoundRope, "ropeScaling" | "context"> {
  const list = (key: string): number[] => {
    const factors = own[key];
    const isFit =
      Array.isArray(factors) &&
      factors.length === pairs &&
      factors.every((value) => typeof value === "number" && value > 0);
    if (isFit) return factors as number[];
    throw unlike(`\`${key}\` of ${pairs} numbers above 0`, factors);
  };
  const [short, long] = [list("short_factor"), list("long_factor")];
  const factor = positiveIn(own, "factor", context / original);
  const attentionFactor = positiveIn(
    own,
    "attention_factor",
    longAttention(factor, original),
  );
  const isSame = JSON.stringify(short) === JSON.stringify(long);
  return {
    ropeScaling: {
      type: "factors",
      factors: short,
      ...(attentionFactor !== 1 && { attentionFactor }),
    },
    ...(!isSame && original < context && { context: Math.floor(original) }),
  };
}

/** What longrope multiplies queries and keys by unless told. Source: Ding et al., LongRoPE (2024), as in transformers */
function longAttention(factor: number, original: number): number {
  if (factor <= 1) return 1;
  return Math.sqrt(1 + logarithm(factor) / logarithm(original));
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
      attention_factor: scaling.attentionFactor ?? 1,
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
