/**
 * Every option of the operations on tensors. This is the one place that has its name, values, default
 * and text: the library's check, the query, a job's JSON, the command line, the API's description and
 * the record in files are derived from here and from scheme.ts.
 *
 * Names are those of the library and of JSON; queries and the command line write `minScale` as
 * `min-scale`, records as `min_scale`. `scale` and `layout` have defaults that depend on others
 * (formats/blocks/scheme.ts, formats/blocks/block-layouts.ts).
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
  "Choices that others make, names of tensors included; options told beside it win",
);

const layout = choice(
  LAYOUTS,
  "How quantized tensors are named and arranged: gpt-oss unless told; compressed-tensors for MXFP8, ggml for GGUF",
);

const outputType = choice(
  GGUF_OUTPUTS,
  "What a GGUF's output head and its table of tokens become; q8_0 as llama.cpp's MXFP4_MOE",
  "q8_0",
);

const tensorType = patterns(
  `Types of a GGUF's tensors by their names, with * and ?, as in blk.?.ffn_down*=q8_0: ${GGUF_TYPES.join(", ")}; of patterns that match a name the last`,
  GGUF_TYPES,
);

const nonfinite = choice(
  ["stop", "keep"],
  "What comes of a value that is NaN or infinite, or that what it becomes cannot hold: stop, or keep what it decodes to. An answer over HTTP that has begun breaks off",
  "stop",
);
export type NonfiniteChoice = ValueOf<typeof nonfinite>;

/** Which tensors of a file. */
export const SELECTION_OPTIONS = {
  include: patterns(
    "Names of tensors to work on, with * and ?; when there is none, all, or of a model's file to quantize the weights of its linear layers",
  ),
  exclude: patterns("Names of tensors to leave as they are, with * and ?"),
};

/** What a raw body holds, which does not say it itself. */
export const RAW_OPTIONS = {
  raw: group("What a raw body is: its one tensor is `x`", {
    dtype: choice(["f32", "f16", "bf16", "f64"], "Of a raw body's values"),
    shape: { kind: "sizes", text: "Of a raw body, as in 4,64" } as const,
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

/** Of a model's directory, beside those of any file. */
export const DIRECTORY_OPTIONS = {
  for: choice(
    LOADERS,
    "Of a model's directory: the loader that takes the output; of llama.cpp that is one GGUF",
  ),
  rotate: choice(
    ["none", "fold"],
    "A rotation of 32 folded into the weights of a model like Llama: it computes the same, and loses less",
    "none",
  ),
};

/** Of the files that a directory is written to. */
export const SHARD_OPTIONS = {
  maxShardSize: {
    kind: "whole",
    least: 1,
    most: Number.MAX_SAFE_INTEGER,
    mostText: "2^53 − 1",
    text: "Of a directory: tensors' bytes in one file, at most",
    default: 5_000_000_000,
  } satisfies Whole,
};
export type Rotation = ValueOf<(typeof DIRECTORY_OPTIONS)["rotate"]>;

/** Of floats in memory, which have no names. */
export const FLOATS_OPTIONS = {
  preset,
  ...SCHEME_OPTIONS,
  nonfinite,
  shape: {
    kind: "sizes",
    text: "Of the floats; one row unless told",
  } as const,
};

export const REPACK_OPTIONS = {
  to: choice(LAYOUTS, "The layout that tensors in blocks get"),
  nonfinite,
};

export const DEQUANTIZE_OPTIONS = {
  dtype: choice(["f32", "bf16", "f16"], "Of decoded tensors", "f32"),
  nonfinite,
};

export const ANALYZE_OPTIONS = {
  preset,
  ...SCHEME_OPTIONS,
  compare: {
    kind: "list",
    text: `Up to 16 schemes: all, ${PRESET_NAMES.join(", ")}, or options that differ from the others here, as in scale=even;hadamard=64`,
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
    "Length of a segment along the last dimension",
    64,
  ),
  seed: SEED,
  nonfinite,
  ...SELECTION_OPTIONS,
  ...RAW_OPTIONS,
};

export const GEMM_OPTIONS = {
  recipe: choice(GEMM_RECIPE_NAMES, "How operands are rounded", "mxfp4-rht-sr"),
  seed: SEED,
};

/** Of what makes a file of another one. */
export const FILE_OPTIONS = {
  quantize: QUANTIZE_OPTIONS,
  dequantize: DEQUANTIZE_OPTIONS,
  repack: REPACK_OPTIONS,
  hadamard: HADAMARD_OPTIONS,
};

/** Of an analysis that knows what a model is made for. */
export const ANALYZE_MODEL_OPTIONS = {
  ...ANALYZE_OPTIONS,
  for: DIRECTORY_OPTIONS.for,
};

/** Of a model's directory, into whose weights a rotation may be folded first. */
export const ANALYZE_FOLDER_OPTIONS = {
  ...ANALYZE_MODEL_OPTIONS,
  rotate: DIRECTORY_OPTIONS.rotate,
};

/** Of what a job makes: of a file, or of a folder that holds a model. */
export const JOB_OPTIONS = {
  ...FILE_OPTIONS,
  analyze: ANALYZE_FOLDER_OPTIONS,
  quantize: { ...QUANTIZE_OPTIONS, ...DIRECTORY_OPTIONS, ...SHARD_OPTIONS },
  dequantize: { ...DEQUANTIZE_OPTIONS, ...SHARD_OPTIONS },
  repack: { ...REPACK_OPTIONS, ...SHARD_OPTIONS },
};
