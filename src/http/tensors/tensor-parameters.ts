/** What the tensor operations' queries have in common. Choices and defaults are those of the code. */
import { AppError } from "../../api/errors.ts";
import {
  DEFAULT_SCHEME,
  defaultScale,
  MIN_SCALES,
  PRESCALES,
  ROUNDING_MODES,
  SCALE_RULES,
  type Scheme,
  SEGMENT_CHOICES,
} from "../../formats/blocks/scheme.ts";
import type { RawHead } from "../../formats/containers/input.ts";
import type { FloatDtype } from "../../formats/dtype.ts";
import type { Selection } from "../../formats/operations/selection.ts";
import {
  oneOf,
  type Parameter,
  type Values,
  wholeNumber,
} from "../declaration/parameter.ts";

const MAX_PATTERNS = 32;
const MAX_PATTERN_LENGTH = 256;

export const SEED = {
  seed: wholeNumber(
    "Of signs and stochastic rounding: the same seed, the same bytes",
    { fallback: DEFAULT_SCHEME.seed },
  ),
};

/** How to quantize. */
export const SCHEME = {
  rounding: oneOf(
    "Of elements; nearest-zero is ggml's",
    ROUNDING_MODES,
    DEFAULT_SCHEME.rounding,
  ),
  scale: oneOf(
    "How a block's shared exponent is found; floor unless told, or rceil when rounding is stochastic",
    SCALE_RULES,
  ),
  prescale: oneOf(
    "Multiply before rounding; 0.75 with floor and stochastic is Algorithm 2",
    PRESCALES,
    DEFAULT_SCHEME.prescale,
  ),
  "min-scale": oneOf(
    "The least scale byte",
    MIN_SCALES,
    DEFAULT_SCHEME.minScale,
  ),
  hadamard: oneOf(
    "Length of a random Hadamard transform's segment; 0: none",
    SEGMENT_CHOICES,
    DEFAULT_SCHEME.hadamard,
  ),
  ...SEED,
};

export function schemeOf({
  "min-scale": minScale,
  scale,
  ...rest
}: Values<typeof SCHEME>): Scheme {
  return { ...rest, minScale, scale: scale ?? defaultScale(rest.rounding) };
}

/** Which tensors. */
export const SELECTION = {
  include: patterns("work on; all when there is none"),
  exclude: patterns("leave as they are"),
};

export function selectionOf(values: Values<typeof SELECTION>): Selection {
  return { include: values.include, exclude: values.exclude };
}

/** What a raw body is, which does not say it itself. */
export const RAW = {
  dtype: oneOf("Of a raw body, with `shape`", ["f32", "f16", "bf16", "f64"]),
  shape: {
    description: "Of a raw body, with `dtype`: its one tensor is `x`",
    schema: { type: "string", pattern: "^\\d{1,15}(,\\d{1,15}){0,15}$" },
    read([text], name) {
      if (text === undefined) return undefined;
      if (/^\d{1,15}(,\d{1,15}){0,15}$/.test(text))
        return text.split(",").map(Number);
      throw invalid(
        `Expected \`${name}\` to be 1 to 16 sizes as in 4,64, got "${text}"`,
      );
    },
  } satisfies Parameter<number[] | undefined>,
};

/** undefined where the body says it itself. */
export function rawHead({
  dtype,
  shape,
}: Values<typeof RAW>): RawHead | undefined {
  if (dtype && shape)
    return { dtype: dtype.toUpperCase() as FloatDtype, shape };
  if (!dtype && !shape) return undefined;
  throw invalid(
    "Expected both `dtype` and `shape` for a raw body, or neither for a file, got one",
  );
}

/** Names of tensors, of which there may be several. */
function patterns(purpose: string): Parameter<string[]> {
  return {
    description: `Names of tensors to ${purpose}, with * and ?`,
    schema: { type: "string", minLength: 1, maxLength: MAX_PATTERN_LENGTH },
    repeats: true,
    read(texts, name) {
      if (texts.length > MAX_PATTERNS) {
        throw invalid(
          `Expected \`${name}\` at most ${MAX_PATTERNS} times, got it ${texts.length} times`,
        );
      }
      for (const { length } of texts) {
        if (length >= 1 && length <= MAX_PATTERN_LENGTH) continue;
        throw invalid(
          `Expected \`${name}\` to be a pattern of 1 to ${MAX_PATTERN_LENGTH} characters, got ${length}`,
        );
      }
      return [...texts];
    },
  };
}

function invalid(message: string): AppError {
  return new AppError("invalid_option", message);
}
