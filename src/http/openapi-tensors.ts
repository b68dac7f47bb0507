/** The tensor operations, described. Choices are those of the code; a test compares names and values. */
import { LAYOUTS } from "../formats/layout.ts";
import { concatenate } from "../formats/bytes.ts";
import type { TensorHead } from "../formats/tensor.ts";
import { writeHead } from "../formats/safetensors-writer.ts";
import {
  DEFAULT_SCHEME,
  MIN_SCALES,
  PRESCALES,
  PRESETS,
  ROUNDING_MODES,
  SCALE_RULES,
  SEGMENT_CHOICES,
} from "../formats/scheme.ts";
import { RECIPES } from "../api/recipe.ts";
import { SEGMENT_LENGTHS } from "../kernels/mxfp4.ts";
import type { Operation, Parameter } from "./openapi-operation.ts";

const SAFETENSORS = "application/octet-stream";

function option(
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

const seed: Parameter = {
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

const selection: Parameter[] = ["include", "exclude"].map((name) => ({
  name,
  in: "query",
  description: `Names of tensors to ${name === "include" ? "work on; all when there is none" : "leave as they are"}, with * and ?`,
  schema: { type: "string", minLength: 1, maxLength: 256 },
  repeats: true,
}));

const raw: Parameter[] = [
  option("dtype", "Of a raw body, with `shape`", ["f32", "f16", "bf16", "f64"]),
  {
    name: "shape",
    in: "query",
    description: "Of a raw body, with `dtype`: its one tensor is `x`",
    schema: { type: "string", pattern: "^\\d{1,15}(,\\d{1,15}){0,15}$" },
  },
];

const scheme: Parameter[] = [
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

const body = {
  description:
    "safetensors, .npy, GGUF (where the operation writes MXFP4 or reads it), or raw little-endian values with `dtype` and `shape`. Content-Length is needed",
};

const file = {
  description:
    "safetensors, or GGUF for GGUF. Length and header follow from the request's; a body that breaks off breaks the answer off",
  type: SAFETENSORS,
  headers: { "Content-Length": "Bytes of the answer, known before the first" },
};

const errors = [
  "malformed_body",
  "length_required",
  "unsupported_media_type",
  "invalid_option",
  "shape_mismatch",
  "unsupported_dtype",
] as const;

/** −2 … 2, in steps that MXFP4 has and in others. */
const values = Float32Array.from({ length: 64 }, (_, i) => (i - 32) / 16);
const bytes = new Uint8Array(values.buffer);

/** Two tensors of which one is quantized by the example's patterns. */
export const exampleCheckpoint = safetensors(
  { name: "layer.weight", dtype: "F32", shape: [2, 32], bytes },
  { name: "layer.bias", dtype: "F32", shape: [32], bytes: bytes.slice(0, 128) },
);

/** What a gpt-oss file has: 0.5 · 1.0 in each of 32 elements. */
const packed = safetensors(
  {
    name: "layer.weight_blocks",
    dtype: "U8",
    shape: [1, 16],
    bytes: new Uint8Array(16).fill(0x22),
  },
  {
    name: "layer.weight_scales",
    dtype: "U8",
    shape: [1],
    bytes: Uint8Array.of(126),
  },
);

export const TENSOR_OPERATIONS: Operation[] = [
  {
    id: "quantize",
    method: "post",
    path: "/v1/quantize",
    tag: "tensors",
    summary: "Quantize to MXFP4, in one pass",
    description:
      "Tensor `x` [..., K] becomes `x_blocks` u8 [..., K/32, 16] and `x_scales` u8 [..., K/32], its rows padded with zeros to whole blocks and segments; integer, 0-D and excluded tensors pass through. Metadata `mxfp4.*` records every choice. The answer is a pure function of the request.",
    parameters: [
      ...scheme,
      option(
        "layout",
        "How quantized tensors are named and arranged; ggml for GGUF",
        LAYOUTS,
        "gpt-oss",
      ),
      ...selection,
      ...raw,
    ],
    body,
    answers: { 200: file },
    errors: [...errors, "body_too_large", "name_collision"],
    examples: {
      checkpoint: {
        summary: "A safetensors file, of which only weights are quantized",
        query: { include: "*.weight" },
        body: exampleCheckpoint,
      },
      raw: {
        summary: "64 raw f32, as one tensor `x`",
        query: { dtype: "f32", shape: "2,32" },
        body: bytes,
      },
      paper: {
        summary: "Algorithm 2 with a rotation, as in training",
        query: {
          rounding: "stochastic",
          scale: "floor",
          prescale: 0.75,
          hadamard: 32,
          seed: 1,
          "min-scale": 0,
          layout: "compressed-tensors",
          exclude: "*.bias",
        },
        body: exampleCheckpoint,
      },
    },
  },
  {
    id: "dequantize",
    method: "post",
    path: "/v1/dequantize",
    tag: "tensors",
    summary: "Undo quantize, in one pass",
    description:
      "What the metadata of a quantized file records is all that is needed. Files without it, such as gpt-oss checkpoints, decode plainly; scale 255 is NaN.",
    parameters: [
      option("dtype", "Of decoded tensors", ["f32", "bf16", "f16"], "f32"),
    ],
    body: { description: "safetensors, or GGUF with MXFP4 tensors" },
    answers: { 200: file },
    errors: [...errors, "body_too_large", "name_collision"],
    examples: {
      pair: { summary: "A pair as gpt-oss has it, to f32", body: packed },
      bf16: { summary: "To bf16", query: { dtype: "bf16" }, body: packed },
    },
  },
  {
    id: "analyze",
    method: "post",
    path: "/v1/analyze",
    tag: "tensors",
    summary: "What quantizing would do to each tensor, by several schemes",
    parameters: [
      ...scheme,
      {
        name: "compare",
        in: "query",
        description: `Up to 16 schemes, separated by commas: all, ${Object.keys(PRESETS).join(", ")}, or options that differ from the query's, as in scale=even;hadamard=64`,
        schema: { type: "string" },
      },
      ...selection,
      ...raw,
    ],
    body,
    answers: {
      200: { description: "Figures, and a recommendation", json: "Analysis" },
    },
    errors,
    examples: {
      one: { summary: "The default scheme", body: exampleCheckpoint },
      compare: {
        summary: "Three named schemes and one of the caller's own",
        query: { compare: "ocp,gpt-oss,paper,rounding=stochastic;hadamard=32" },
        body: exampleCheckpoint,
      },
    },
  },
  {
    id: "hadamard",
    method: "post",
    path: "/v1/hadamard",
    tag: "tensors",
    summary: "Rotate by the blockwise random Hadamard transform, or back",
    parameters: [
      option(
        "direction",
        "Forward is H · diag(signs) · segment",
        ["forward", "inverse"],
        "forward",
      ),
      option(
        "hadamard",
        "Length of a segment along the last dimension",
        SEGMENT_LENGTHS,
        64,
      ),
      seed,
      ...selection,
      ...raw,
    ],
    body: { description: "safetensors, .npy or raw values" },
    answers: { 200: file },
    errors,
    examples: {
      forward: {
        summary: "Segments of 32",
        query: { hadamard: 32, seed: 1 },
        body: exampleCheckpoint,
      },
      inverse: {
        summary: "And back",
        query: {
          direction: "inverse",
          hadamard: 32,
          dtype: "f32",
          shape: "64",
        },
        body: bytes,
      },
    },
  },
  {
    id: "gemm",
    method: "post",
    path: "/v1/gemm",
    tag: "tensors",
    summary: "c = a · bᵀ, computed as a linear layer of a recipe would",
    parameters: [
      option("recipe", "How operands are rounded", RECIPES, "mxfp4-rht-sr"),
      seed,
    ],
    body: {
      description: "safetensors of `a` [m, k] and `b` [n, k]; at most 16 MiB",
    },
    answers: {
      200: {
        description: "safetensors of `c` f32 [m, n]",
        type: SAFETENSORS,
        headers: { "Content-Length": "Bytes of the answer" },
      },
    },
    errors: [...errors, "body_too_large"],
    examples: {
      operands: {
        summary: "Two operands of one row",
        query: { recipe: "mxfp4-rht-sr", seed: 1 },
        body: safetensors(
          { name: "a", dtype: "F32", shape: [1, 64], bytes },
          { name: "b", dtype: "F32", shape: [1, 64], bytes },
        ),
      },
    },
  },
];

function safetensors(
  ...tensors: (TensorHead & { bytes: Uint8Array })[]
): Uint8Array {
  const { head, dataBytes } = writeHead(tensors, new Map());
  return concatenate(head.length + dataBytes, [
    head,
    ...tensors.map((tensor) => tensor.bytes),
  ]);
}
