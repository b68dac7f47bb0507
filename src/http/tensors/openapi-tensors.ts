/** The tensor operations, described; a test compares names and values with the code's. */
import {
  ANALYZE_OPTIONS,
  DEQUANTIZE_OPTIONS,
  GEMM_OPTIONS,
  HADAMARD_OPTIONS,
  QUANTIZE_OPTIONS,
} from "../../api/options.ts";
import type { Operation } from "../openapi-operation.ts";
import {
  exampleBytes,
  exampleCheckpoint,
  exampleOperands,
  examplePair,
} from "./openapi-tensor-examples.ts";
import { parametersOf } from "../option-schemas.ts";

const SAFETENSORS = "application/octet-stream";

const body = {
  description:
    "safetensors, .npy, GGUF, or raw little-endian values with `dtype` and `shape`. Content-Length is needed",
};

const file = (what: string) => ({
  description: `${what}. Length and header follow from the request's; a body that breaks off breaks the answer off`,
  type: SAFETENSORS,
  headers: { "Content-Length": "Bytes of the answer, known before the first" },
});

const errors = [
  "malformed_body",
  "length_required",
  "body_too_large",
  "unsupported_media_type",
  "invalid_option",
  "shape_mismatch",
  "unsupported_dtype",
] as const;

export const TENSOR_OPERATIONS: Operation[] = [
  {
    id: "quantize",
    method: "post",
    path: "/v1/quantize",
    tag: "tensors",
    summary: "Quantize to MXFP4, in one pass",
    description:
      "Tensor `x` [..., K] becomes `x_blocks` u8 [..., K/32, 16] and `x_scales` u8 [..., K/32], its rows padded with zeros to whole blocks and segments; integer, 0-D and excluded tensors pass through. Metadata `mxfp4.*` records every choice. The answer is a pure function of the request.",
    parameters: parametersOf(QUANTIZE_OPTIONS),
    body,
    answers: { 200: file("safetensors, or GGUF for GGUF") },
    errors: [...errors, "name_collision"],
    examples: {
      checkpoint: {
        summary: "A safetensors file, of which only weights are quantized",
        query: { include: "*.weight" },
        body: exampleCheckpoint,
      },
      raw: {
        summary: "64 raw f32, as one tensor `x`",
        query: { dtype: "f32", shape: "2,32" },
        body: exampleBytes,
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
    parameters: parametersOf(DEQUANTIZE_OPTIONS),
    body: { description: "safetensors, or GGUF with MXFP4 tensors" },
    answers: { 200: file("safetensors, or GGUF for GGUF") },
    errors: [...errors, "name_collision"],
    examples: {
      pair: { summary: "A pair as gpt-oss has it, to f32", body: examplePair },
      bf16: { summary: "To bf16", query: { dtype: "bf16" }, body: examplePair },
    },
  },
  {
    id: "analyze",
    method: "post",
    path: "/v1/analyze",
    tag: "tensors",
    summary: "What quantizing would do to each tensor, by several schemes",
    description:
      "In one pass; nothing is stored. Tensors that quantize would leave, such as integers and the quantized types of a GGUF, are passed over and listed with their type.",
    parameters: parametersOf(ANALYZE_OPTIONS),
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
    parameters: parametersOf(HADAMARD_OPTIONS),
    body: {
      description:
        "safetensors, .npy or raw values. GGUF is refused (415): its readers would not rotate back",
    },
    answers: { 200: file("safetensors") },
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
        body: exampleBytes,
      },
    },
  },
  {
    id: "gemm",
    method: "post",
    path: "/v1/gemm",
    tag: "tensors",
    summary: "c = a · bᵀ, computed as a linear layer of a recipe would",
    parameters: parametersOf(GEMM_OPTIONS),
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
    errors,
    examples: {
      operands: {
        summary: "Two operands of one row",
        query: { recipe: "mxfp4-rht-sr", seed: 1 },
        body: exampleOperands,
      },
    },
  },
];
