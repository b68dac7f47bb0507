/** Rotary positions, as config.json has them and as llama.cpp wants them. */
import {
  headLength,
  type Hyperparameters,
  notComputed,
  type Pairs,
  real,
  uint32,
} from "./hyperparameters.ts";

const DEFAULT_BASE = 10_000;

type Rope = {
  base: number;
  /** default, linear, yarn, llama3, … */
  type: string;
  number: (key: string) => number | undefined;
};

/** `of` names the kind of attention where there is a rope for each. */
function ropeOf(config: Hyperparameters, of?: string): Rope {
  const all =
    config.object("rope_parameters") ?? config.object("rope_scaling") ?? {};
  const own = (of === undefined ? undefined : all[of]) ?? all;
  const told = own as Readonly<Record<string, unknown>>;
  const number = (key: string) => {
    const value = told[key];
    return typeof value === "number" ? value : undefined;
  };
  return {
    base: number("rope_theta") ?? config.maybe("rope_theta") ?? DEFAULT_BASE,
    type: textOf(told.rope_type ?? told.type),
    number,
  };
}

function textOf(type: unknown): string {
  return typeof type === "string" ? type : "default";
}

/** Errors: `invalid_option` for a scaling that llama.cpp does not have, or has by `freqFactors` alone */
export function ropePairs(
  config: Hyperparameters,
  { of, withFactors = false }: { of?: string; withFactors?: boolean } = {},
): Pairs {
  const rope = ropeOf(config, of);
  const { type, number } = rope;
  const base: Pairs = [["rope.freq_base", real(rope.base)]];
  if (type === "default" || (type === "llama3" && withFactors)) return base;
  const factor = number("factor");
  if (!["linear", "yarn"].includes(type) || factor === undefined)
    throw notComputed(
      `a rope of type default, linear${withFactors ? ", llama3" : ""} or yarn`,
      `"${type}"`,
    );
  const scaling: Pairs = [
    ...base,
    ["rope.scaling.type", { string: type }],
    ["rope.scaling.factor", real(factor)],
  ];
  if (type === "linear") return scaling;
  const original =
    number("original_max_position_embeddings") ??
    config.number("max_position_embeddings");
  const optional = [
    ["rope.scaling.yarn_ext_factor", number("extrapolation_factor")],
    ["rope.scaling.yarn_attn_factor", number("attention_factor")],
    ["rope.scaling.yarn_beta_fast", number("beta_fast")],
    ["rope.scaling.yarn_beta_slow", number("beta_slow")],
  ] as const;
  return [
    ...scaling,
    ["rope.scaling.original_context_length", uint32(original)],
    ...optional.flatMap(([key, value]) =>
      value === undefined ? [] : [[key, real(value)] as const],
    ),
  ];
}

/** Base frequency of sliding attention, where it has one of its own. */
export function slidingBase(config: Hyperparameters): number | undefined {
  const all = config.object("rope_parameters");
  if (all?.sliding_attention === undefined)
    return config.maybe("rope_local_base_freq");
  return ropeOf(config, "sliding_attention").base;
}

/**
 * What each pair's frequency is divided by in Llama 3.1 and later, which llama.cpp takes as a tensor: long waves by
 * `factor`, short ones by one, and those between by a mean of both; undefined for other ropes.
 */
export function freqFactors(config: Hyperparameters): Float32Array | undefined {
  const { type, base, number } = ropeOf(config);
  if (type !== "llama3") return undefined;
  const length = headLength(config);
  const factor = number("factor") ?? 8;
  const low = number("low_freq_factor") ?? 1;
  const high = number("high_freq_factor") ?? 4;
  const context = number("original_max_position_embeddings") ?? 8192;
  return Float32Array.from({ length: length / 2 }, (_, i) => {
    const waves = (context / (2 * Math.PI)) * base ** ((-2 * i) / length);
    if (waves > high) return 1;
    if (waves < low) return factor;
    const share = (waves - low) / (high - low);
    return 1 / ((1 - share) / factor + share);
  });
}
