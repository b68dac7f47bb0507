/** Rotary positions of config.json as GGUF keys. */
import { attentionOf, yarnAttention } from "../yarn.ts";
import {
  headLength,
  type Hyperparameters,
  notComputed,
  type Pairs,
  real,
  uint32,
} from "./hyperparameters.ts";

const DEFAULT_BASE = 10_000;

/** YaRN's bounds: rotations of a pair in the original context between which frequencies are interpolated. */
const YARN_TURNS = { beta_fast: 32, beta_slow: 1 } as const;

type Rope = {
  base: number;
  /** default, linear, yarn, llama3, … */
  type: string;
  get: (key: string) => unknown;
  number: (key: string) => number | undefined;
};

/**
 * `of`: the kind of attention, if each has its own. Older files' `rope_scaling` takes precedence over
 * `rope_parameters`, as in transformers.
 */
function ropeOf(config: Hyperparameters, of?: string): Rope {
  const all =
    config.object("rope_scaling") ?? config.object("rope_parameters") ?? {};
  const own = (of === undefined ? undefined : all[of]) ?? all;
  const told = own as Readonly<Record<string, unknown>>;
  const number = (key: string) => {
    const value = told[key];
    return typeof value === "number" ? value : undefined;
  };
  return {
    base: number("rope_theta") ?? config.maybe("rope_theta") ?? DEFAULT_BASE,
    type: textOf(told.rope_type ?? told.type),
    get: (key) => told[key],
    number,
  };
}

/** The factors of `longrope` if those for short and long texts are equal. */
function soleFactors({ get }: Rope): number[] | undefined {
  const long = get("long_factor");
  if (!Array.isArray(long) || typeof get("attention_factor") !== "number")
    return undefined;
  const isSame = JSON.stringify(get("short_factor")) === JSON.stringify(long);
  return isSame ? (long as number[]) : undefined;
}

function textOf(type: unknown): string {
  return typeof type === "string" ? type : "default";
}

/**
 * `isRounded`: accept llama.cpp's rounding of YaRN's bounds whatever config.json says. Errors: `invalid_option` for a
 * scaling that llama.cpp lacks, or supports by `freqFactors` only
 */
export function ropePairs(
  config: Hyperparameters,
  {
    of,
    withFactors = false,
    isRounded = false,
  }: { of?: string; withFactors?: boolean; isRounded?: boolean } = {},
): Pairs {
  const rope = ropeOf(config, of);
  const { type, number } = rope;
  const share =
    number("partial_rotary_factor") ??
    config.maybe("partial_rotary_factor") ??
    1;
  if (share !== 1) throw notComputed("`partial_rotary_factor` 1", `${share}`);
  const base: Pairs = [["rope.freq_base", real(rope.base)]];
  const hasTensor =
    type === "llama3" || (type === "longrope" && soleFactors(rope));
  if (type === "default") return base;
  if (hasTensor && withFactors) {
    const attention = (type === "longrope" && number("attention_factor")) || 1;
    return [...base, ...attentionPairs(attention)];
  }
  const factor = number("factor");
  if (!["linear", "yarn"].includes(type) || factor === undefined)
    throw notComputed(
      `a rope of type default, linear${withFactors ? ", llama3" : ""} or yarn`,
      `"${type}"${factor === undefined ? " without `factor`" : ""}`,
    );
  return [
    ...base,
    ["rope.scaling.type", { string: type }],
    ["rope.scaling.factor", real(factor)],
    ...(type === "yarn" ? yarnPairs(config, rope, factor, isRounded) : []),
  ];
}

/** Errors: `invalid_option` for bounds that llama.cpp does not read for such models */
function yarnPairs(
  config: Hyperparameters,
  { get, number }: Rope,
  factor: number,
  isRounded: boolean,
): Pairs {
  for (const [key, turns] of Object.entries(YARN_TURNS)) {
    const told = number(key) ?? turns;
    if (told !== turns)
      throw notComputed(`\`${key}\` ${turns} of yarn`, `${told}`);
  }
  if (get("truncate") === false && !isRounded)
    throw notComputed("`truncate` true of yarn", "false");
  const original =
    number("original_max_position_embeddings") ??
    config.number("max_position_embeddings");
  // llama.cpp multiplies its own value for the factor by this.
  const attention = yarnAttention(factor, number) / attentionOf(factor);
  return [
    ["rope.scaling.original_context_length", uint32(original)],
    ...attentionPairs(attention),
  ];
}

/** What queries and keys are multiplied by. */
function attentionPairs(factor: number): Pairs {
  return factor === 1 ? [] : [["rope.scaling.attn_factor", real(factor)]];
}

/** Base frequency of sliding attention, if it has its own. */
export function slidingBase(config: Hyperparameters): number | undefined {
  const all = config.object("rope_parameters");
  if (all?.sliding_attention === undefined)
    return config.maybe("rope_local_base_freq");
  return ropeOf(config, "sliding_attention").base;
}

/**
 * Divisors of each pair's frequency for Llama 3.1 and later, stored as a tensor: `factor` for long wavelengths, 1 for
 * short ones, interpolated between; the factors themselves for `longrope`; undefined for others.
 */
export function freqFactors(config: Hyperparameters): Float32Array | undefined {
  const rope = ropeOf(config);
  const { type, base, number } = rope;
  if (type === "longrope") {
    const factors = soleFactors(rope);
    return factors && Float32Array.from(factors);
  }
  if (type !== "llama3") return undefined;
  const length = headLength(config);
  const factor = number("factor") ?? 8;
  const low = number("low_freq_factor") ?? 1;
  const high = number("high_freq_factor") ?? 4;
  const context =
    number("original_max_position_embeddings") ??
    config.number("max_position_embeddings");
  return Float32Array.from({ length: length / 2 }, (_, i) => {
    const waves = (context / (2 * Math.PI)) * base ** ((-2 * i) / length);
    if (waves > high) return 1;
    if (waves < low) return factor;
    const share = (waves - low) / (high - low);
    return 1 / ((1 - share) / factor + share);
  });
}
