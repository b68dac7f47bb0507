/** Rotary positions, as config.json has them and as llama.cpp wants them. */
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

/** Turns of a pair in the context that yarn begins with, between which it goes over to slower ones. */
const YARN_TURNS = { beta_fast: 32, beta_slow: 1 } as const;

type Rope = {
  base: number;
  /** default, linear, yarn, llama3, … */
  type: string;
  get: (key: string) => unknown;
  number: (key: string) => number | undefined;
};

/**
 * `of` names the kind of attention where there is a rope for each. `rope_scaling`, as older files have it, goes before
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

/** Of `longrope`, where long texts have those of short ones. */
function soleFactors({ get }: Rope): number[] | undefined {
  const long = get("long_factor");
  if (!Array.isArray(long) || get("attention_factor") !== 1) return undefined;
  const isSame = JSON.stringify(get("short_factor")) === JSON.stringify(long);
  return isSame ? (long as number[]) : undefined;
}

function textOf(type: unknown): string {
  return typeof type === "string" ? type : "default";
}

/**
 * `isRounded`: whether llama.cpp's rounding of yarn's bounds is taken for what config.json says, whatever that is. Errors:
 * `invalid_option` for a scaling that llama.cpp does not have, or has by `freqFactors` alone
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
  const share = number("partial_rotary_factor") ?? config.maybe("partial_rotary_factor") ?? 1; // prettier-ignore
  if (share !== 1) throw notComputed("`partial_rotary_factor` 1", `${share}`);
  const base: Pairs = [["rope.freq_base", real(rope.base)]];
  const hasTensor = type === "llama3" || (type === "longrope" && soleFactors(rope)); // prettier-ignore
  if (type === "default" || (hasTensor && withFactors)) return base;
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

/** Errors: `invalid_option` for bounds that llama.cpp reads of no such model */
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
  // llama.cpp multiplies what follows from the factor by it.
  const attention = yarnAttention(factor, number) / attentionOf(factor);
  return [
    ["rope.scaling.original_context_length", uint32(original)],
    ...(attention === 1
      ? []
      : ([["rope.scaling.attn_factor", real(attention)]] as const)),
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
