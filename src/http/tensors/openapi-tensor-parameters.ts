/** The tensor operations' parameters that several have. Choices and defaults are those of the code. */
import {
  DEFAULT_SCHEME,
  MIN_SCALES,
  PRESCALES,
  ROUNDING_MODES,
  SCALE_RULES,
  SEGMENT_CHOICES,
} from "../../formats/blocks/scheme.ts";
import type { Parameter } from "../openapi-operation.ts";

/** A parameter of the query, one of `values`. */
export function option(
  name: string,
  description: string,
  values: readonly (string | number)[],
  fallback?: string | number,
): Parameter {
  const schema = {
    enum: values,
    ...(fallback === undefined ? {} : { default: fallback }),
  };
  return { name, in: "query", description, schema };
}

export const seed: Parameter = {
  name: "seed",
  in: "query",
  description:
    "Of signs and stochastic rounding: the same seed, the same bytes",
  schema: {
    type: "integer",
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    default: DEFAULT_SCHEME.seed,
  },
};

/** Which tensors. */
export const selection: Parameter[] = ["include", "exclude"].map((name) => ({
  name,
  in: "query",
  description: `Names of tensors to ${name === "include" ? "work on; all when there is none" : "leave as they are"}, with * and ?`,
  schema: { type: "string", minLength: 1, maxLength: 256 },
  repeats: true,
}));

/** What a raw body is. */
export const raw: Parameter[] = [
  option("dtype", "Of a raw body, with `shape`", ["f32", "f16", "bf16", "f64"]),
  {
    name: "shape",
    in: "query",
    description: "Of a raw body, with `dtype`: its one tensor is `x`",
    schema: { type: "string", pattern: "^\\d{1,15}(,\\d{1,15}){0,15}$" },
  },
];

/** How to quantize. */
export const scheme: Parameter[] = [
  option(
    "rounding",
    "Of elements; nearest-zero is ggml's",
    ROUNDING_MODES,
    DEFAULT_SCHEME.rounding,
  ),
  option(
    "scale",
    "How a block's shared exponent is found; rceil unless told when rounding is stochastic",
    SCALE_RULES,
    DEFAULT_SCHEME.scale,
  ),
  option(
    "prescale",
    "Multiply before rounding; 0.75 with floor and stochastic is Algorithm 2",
    PRESCALES,
    DEFAULT_SCHEME.prescale,
  ),
  option(
    "min-scale",
    "The least scale byte",
    MIN_SCALES,
    DEFAULT_SCHEME.minScale,
  ),
  option(
    "hadamard",
    "Length of a random Hadamard transform's segment; 0: none",
    SEGMENT_CHOICES,
    DEFAULT_SCHEME.hadamard,
  ),
  seed,
];
