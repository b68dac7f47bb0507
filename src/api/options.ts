/**
 * Every option of the operations on tensors. With scheme.ts, the only place that defines names, values, defaults and
 * descriptions: the library's checks, queries, a job's JSON, the command line, the API's description and the record in
 * files are derived from here.
 *
 * Names are those of the library and of JSON; queries and the command line write `minScale` as `min-scale`, records as
 * `min_scale`. The defaults of `scale` and `layout` depend on other options (formats/blocks/scheme.ts,
 * formats/blocks/block-layouts.ts).
 */
import {
  choice,
  group,
  patterns,
  type ValueOf,
  type Whole,
} from "./option-kinds.ts";
import { PRESET_NAMES } from "./presets.ts";
import { GEMM_RECIPE_NAMES } from "./recipe.ts";
import {
  GGUF_OUTPUTS,
  GGUF_TYPES,
  LAYOUTS,
  LOADERS,
  SCHEME_OPTIONS,
  SEED,
  SEGMENT_LENGTHS,
} from "./scheme.ts";

const preset = choice(
  PRESET_NAMES,
  "Options that reproduce another quantizer, its tensor names included; options given explicitly take precedence",
);

const layout = choice(
  LAYOUTS,
  "Names and arrangement of quantized tensors (default: gpt-oss; compressed-tensors for MXFP8, ggml for GGUF)",
);

const outputType = choice(
  GGUF_OUTPUTS,
  "Type of a GGUF's output head and token embedding; q8_0 as in llama.cpp's MXFP4_MOE",
  "q8_0",
);

const tensorType = patterns(
  `Types of a GGUF's tensors by name, with * and ?, as in blk.?.ffn_down*=q8_0; one of ${GGUF_TYPES.join(", ")}; the last pattern that matches a name applies`,
  GGUF_TYPES,
);

const nonfinite = choice(
  ["stop", "keep"],
  "On a value that is NaN or infinite, or that overflows: stop with an error (a response over HTTP that has begun breaks off), or keep what it decodes to",
  "stop",
);
export type NonfiniteChoice = ValueOf<typeof nonfinite>;

/** Selects tensors of a file. */
export const SELECTION_OPTIONS = {
  include: patterns(
    "Names of tensors to convert, with * and ? (default: all; when quantizing a model, the weights of its linear layers)",
  ),
  exclude: patterns("Names of tensors not to convert, with * and ?"),
};

/** Describes a raw body, which has no header. */
export const RAW_OPTIONS = {
  raw: group("Describes a raw body, which has one tensor, `x`", {
    dtype: choice(["f32", "f16", "bf16", "f64"], "Data type of raw input"),
    shape: { kind: "sizes", text: "Shape of raw input, as in 4,64" } as const,
  }),
};

export const QUANTIZE_OPTIONS = {
  preset,
  ...SCHEME_OPTIONS,
  layout,
  outputType,
  tensorType,
  nonfinite,
  ...SELECTION_OPTIONS,
  ...RAW_OPTIONS,
};

/** For a model's directory, besides those of any file. */
export const DIRECTORY_OPTIONS = {
  for: choice(
    LOADERS,
    "For a model directory: the program that will load the output; for llama.cpp, one GGUF is written",
  ),
  rotate: choice(
    ["none", "fold"],
    "Fold a rotation by blocks of 32 into the weights of a Llama-like model: same function, less quantization error",
    "none",
  ),
};

/** For the output files of a directory. */
export const SHARD_OPTIONS = {
  maxShardSize: {
    kind: "whole",
    least: 1,
    most: Number.MAX_SAFE_INTEGER,
    mostText: "2^53 − 1",
    text: "For a directory: largest number of tensor bytes per file",
    default: 5_000_000_000,
  } satisfies Whole,
};
export type Rotation = ValueOf<(typeof DIRECTORY_OPTIONS)["rotate"]>;

/** For floats in memory. */
export const FLOATS_OPTIONS = {
  preset,
  ...SCHEME_OPTIONS,
  nonfinite,
  shape: {
    kind: "sizes",
    text: "Shape of the floats (default: one row)",
  } as const,
};

export const REPACK_OPTIONS = {
  to: choice(LAYOUTS, "New layout of the quantized tensors"),
  nonfinite,
};

export const DEQUANTIZE_OPTIONS = {
  dtype: choice(["f32", "bf16", "f16"], "Data type of decoded tensors", "f32"),
  nonfinite,
};

export const ANALYZE_OPTIONS = {
  preset,
  ...SCHEME_OPTIONS,
  compare: {
    kind: "list",
    text: `Up to 16 schemes: all, ${PRESET_NAMES.join(", ")}, or changes to the other options, as in scale=even;hadamard=64`,
  } as const,
  outputType,
  ...SELECTION_OPTIONS,
  ...RAW_OPTIONS,
};

export const HADAMARD_OPTIONS = {
  direction: choice(
    ["forward", "inverse"],
    "Forward is H · diag(signs) · segment",
    "forward",
  ),
  hadamard: choice(
    SEGMENT_LENGTHS,
    "Segment length along the last dimension",
    64,
  ),
  seed: SEED,
  nonfinite,
  ...SELECTION_OPTIONS,
  ...RAW_OPTIONS,
};

export const GEMM_OPTIONS = {
  recipe: choice(
    GEMM_RECIPE_NAMES,
    "Recipe that rounds and rotates the operands",
    "mxfp4-rht-sr",
  ),
  seed: SEED,
};

/** For operations that turn a file into another. */
export const FILE_OPTIONS = {
  quantize: QUANTIZE_OPTIONS,
  dequantize: DEQUANTIZE_OPTIONS,
  repack: REPACK_OPTIONS,
  hadamard: HADAMARD_OPTIONS,
};

/** For an analysis of a model. */
export const ANALYZE_MODEL_OPTIONS = {
  ...ANALYZE_OPTIONS,
  for: DIRECTORY_OPTIONS.for,
};

/** For an analysis of a model's directory. */
export const ANALYZE_FOLDER_OPTIONS = {
  ...ANALYZE_MODEL_OPTIONS,
  rotate: DIRECTORY_OPTIONS.rotate,
};

/** For jobs: on a file, or on a model's folder. */
export const JOB_OPTIONS = {
  ...FILE_OPTIONS,
  analyze: ANALYZE_FOLDER_OPTIONS,
  quantize: { ...QUANTIZE_OPTIONS, ...DIRECTORY_OPTIONS, ...SHARD_OPTIONS },
  dequantize: { ...DEQUANTIZE_OPTIONS, ...SHARD_OPTIONS },
  repack: { ...REPACK_OPTIONS, ...SHARD_OPTIONS },
};
