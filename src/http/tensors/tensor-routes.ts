/** Operations on a body of tensors, in one pass. */
import {
  DEQUANTIZE_OPTIONS,
  HADAMARD_OPTIONS,
  QUANTIZE_OPTIONS,
  REPACK_OPTIONS,
} from "../../api/options.ts";
import { rawOf } from "../../formats/operations/file-operation.ts";
import { route } from "../declaration/route.ts";
import { ANALYZE } from "./analyze-route.ts";
import { GEMM } from "./gemm-route.ts";
import { answerOperation } from "./tensor-answer.ts";
import {
  ANY_FILE,
  exampleBytes,
  exampleCheckpoint,
  examplePair,
  fileAnswer,
  TENSOR_ERRORS,
} from "./tensor-descriptions.ts";

const CONVERSION_ERRORS = [
  ...TENSOR_ERRORS,
  "name_collision",
  "nothing_to_convert",
  "nonfinite_value",
] as const;

export const TENSOR_ROUTES = [
  route({
    id: "quantize",
    method: "post",
    path: "/v1/quantize",
    tag: "tensors",
    access: "owner",
    summary: "Quantize to MXFP4 or MXFP8, in one pass",
    description:
      "Tensor `x` [..., K] becomes `x_blocks` u8 [..., K/32, 16] and `x_scales` u8 [..., K/32], its rows padded with zeros to whole blocks and segments; as MXFP8 it becomes `x` f8_e4m3 or f8_e5m2 [..., K] and `x_scale` u8 [..., K/32]; integer, 0-D and excluded tensors are copied. Metadata `mxfp4.*` records every option. A GGUF stays a GGUF, with its matrices in MXFP4. The response is a pure function of the request.",
    options: QUANTIZE_OPTIONS,
    body: ANY_FILE,
    answers: { 200: fileAnswer("safetensors, or GGUF for GGUF") },
    errors: CONVERSION_ERRORS,
    examples: {
      checkpoint: {
        summary: "A safetensors file; only weights are quantized",
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
      mxfp8: {
        summary: "MXFP8",
        query: { format: "mxfp8-e4m3", scale: "rceil" },
        body: exampleCheckpoint,
      },
    },
    handle: (c, { options }) =>
      answerOperation(c, { operation: "quantize", options }, rawOf(options)),
  }),

  route({
    id: "dequantize",
    method: "post",
    path: "/v1/dequantize",
    tag: "tensors",
    access: "owner",
    summary: "Dequantize, in one pass",
    description:
      "The metadata of a quantized file has all that is needed. Files without it, such as gpt-oss checkpoints, are decoded plainly: each pair `x_blocks` [..., G, 16], `x_scales` [..., G] (and the other layouts of docs/compatibility.md, found by names, types and shapes) becomes `x` [..., 32·G]; scale 255 is NaN. A GGUF stays a GGUF. At most 32 MiB are held until the second part of a pair arrives.",
    options: DEQUANTIZE_OPTIONS,
    body: { description: "safetensors, or GGUF with MXFP4 tensors" },
    answers: { 200: fileAnswer("safetensors, or GGUF for GGUF") },
    errors: CONVERSION_ERRORS,
    examples: {
      pair: { summary: "A gpt-oss pair, to f32", body: examplePair },
      bf16: { summary: "To bf16", query: { dtype: "bf16" }, body: examplePair },
    },
    handle: (c, { options }) =>
      answerOperation(c, { operation: "dequantize", options }),
  }),

  route({
    id: "repack",
    method: "post",
    path: "/v1/repack",
    tag: "tensors",
    access: "owner",
    summary: "Convert quantized tensors to another layout, without decoding",
    description:
      "Tensors in MXFP4 or MXFP8, in any layout that dequantize reads, get the names, types and shapes of the layout `to`. Codes and scales stay the same; other tensors are copied. A file without such tensors, or with all of them already in that layout, is refused.",
    options: REPACK_OPTIONS,
    body: { description: "safetensors with quantized tensors" },
    answers: { 200: fileAnswer("safetensors") },
    errors: CONVERSION_ERRORS,
    examples: {
      pair: {
        summary: "A gpt-oss pair, to compressed-tensors",
        query: { to: "compressed-tensors" },
        body: examplePair,
      },
    },
    handle: (c, { options }) =>
      answerOperation(c, { operation: "repack", options }),
  }),

  route({
    id: "hadamard",
    method: "post",
    path: "/v1/hadamard",
    tag: "tensors",
    access: "owner",
    summary: "Apply the blockwise random Hadamard transform, or its inverse",
    description:
      "Selected float tensors are transformed, and returned as f32 with the same names and shapes; others are copied. The signs for a seed are those of quantize. Forward followed by inverse gives the input, up to rounding.",
    options: HADAMARD_OPTIONS,
    body: {
      description:
        "safetensors, .npy or raw values. GGUF is refused (415), since its readers would not invert the rotation",
    },
    answers: { 200: fileAnswer("safetensors") },
    errors: [...TENSOR_ERRORS, "nothing_to_convert", "nonfinite_value"],
    examples: {
      forward: {
        summary: "Segments of 32",
        query: { hadamard: 32, seed: 1 },
        body: exampleCheckpoint,
      },
      inverse: {
        summary: "The inverse",
        query: {
          direction: "inverse",
          hadamard: 32,
          dtype: "f32",
          shape: "64",
        },
        body: exampleBytes,
      },
    },
    handle: (c, { options }) =>
      answerOperation(c, { operation: "hadamard", options }, rawOf(options)),
  }),

  ANALYZE,
  GEMM,
];
