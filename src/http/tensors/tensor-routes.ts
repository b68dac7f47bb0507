import { Hono } from "hono";
import {
  DEQUANTIZE_OPTIONS,
  HADAMARD_OPTIONS,
  QUANTIZE_OPTIONS,
} from "../../api/options.ts";
import { planFile, rawOf } from "../../formats/operations/plan.ts";
import { analyzeRoutes } from "./analyze-routes.ts";
import type { AppEnv } from "../env.ts";
import { gemmRoutes } from "./gemm-routes.ts";
import { answerConversion } from "./tensor-answer.ts";
import { openTensors } from "./tensor-body.ts";
import { optionsOf } from "./tensor-query.ts";

export const tensorRoutes = new Hono<AppEnv>()
  .route("/", analyzeRoutes)
  .route("/", gemmRoutes)

  /**
   * Quantize to MXFP4, in one pass. The answer is a pure function of the request.
   *
   * Query:  preset     ocp | microxcaling | ggml | gpt-oss | torchao-ceil | compressed-tensors | amd | paper
   *         rounding   nearest-even (default) | nearest-away | nearest-zero (ggml's) | stochastic
   *         scale      floor (default) | rceil (default of stochastic) | ceil | even
   *         prescale   1 (default) | 0.75; with floor and stochastic: Algorithm 2, E = 3/4 · input
   *         min-scale  0 (default) | 1: the least scale byte
   *         hadamard   0 (default) | 16 | 32 | 64 | 128 | 256: length of an RHT segment
   *         seed       0 (default) … 2^53 − 1, for signs and stochastic rounding
   *         layout     gpt-oss (default) | ggml (default of GGUF) | compressed-tensors
   *         include, exclude   tensor names, with * and ?; may repeat
   *         dtype, shape       f32 | f16 | bf16 | f64, and sizes as in 4,64: the body is one raw tensor `x`
   * Body:   safetensors, .npy (its tensor is `x`), GGUF, or raw little-endian values; any size, with
   *         Content-Length
   * 200:    safetensors: `x` [..., K] is now `x_blocks` u8 [..., K/32, 16] and `x_scales` u8 [..., K/32],
   *         rows padded with zeros to whole blocks and segments; integer, 0-D and excluded tensors as
   *         they came; metadata `mxfp4.*` records every choice. Of GGUF: GGUF, its matrices MXFP4
   * Errors: 400 malformed_body, 411 length_required, 413 body_too_large (too many tensors, or scales
   *         of one over 32 MiB), 415 unsupported_media_type, 422 invalid_option | shape_mismatch |
   *         unsupported_dtype | name_collision. A body that breaks off breaks the answer off
   */
  .post("/v1/quantize", async (c) => {
    const options = optionsOf(c, QUANTIZE_OPTIONS);
    const body = await openTensors(c, rawOf(options));
    const request = { operation: "quantize", options } as const;
    return answerConversion(body, (input) => planFile(input, request));
  })

  /**
   * Undo `/v1/quantize`, in one pass: what its metadata records is all that is needed. Files without
   * it, such as gpt-oss checkpoints, decode plainly.
   *
   * Query:  dtype  f32 (default) | bf16 | f16, rounded to nearest even
   * Body:   safetensors, or GGUF with MXFP4 tensors; any size, with Content-Length
   * 200:    safetensors: each pair `x_blocks` [..., G, 16], `x_scales` [..., G] (also `x.blocks`, `x.scales`
   *         and `x_packed`, `x_scale`) is now `x` [..., 32·G], or its recorded shape; the rest as it
   *         came. Scale 255 is NaN. Of GGUF: GGUF
   * Errors: 400 malformed_body, 411 length_required, 413 body_too_large (over 32 MiB to hold until the
   *         second part of a pair comes), 415 unsupported_media_type,
   *         422 invalid_option | shape_mismatch | unsupported_dtype | name_collision
   */
  .post("/v1/dequantize", async (c) => {
    const options = optionsOf(c, DEQUANTIZE_OPTIONS);
    const body = await openTensors(c);
    const request = { operation: "dequantize", options } as const;
    return answerConversion(body, (input) => planFile(input, request));
  })

  /**
   * Rotate by the blockwise random Hadamard transform, or back. Twice, forward and inverse, is the
   * input up to rounding.
   *
   * Query:  direction  forward (default): H · diag(signs) · segment | inverse
   *         hadamard   64 (default) | 16 | 32 | 128 | 256: length of a segment along the last dimension
   *         seed       0 (default) … 2^53 − 1: the signs that `/v1/quantize` draws of it
   *         include, exclude, dtype, shape   as for `/v1/quantize`
   * Body:   safetensors, .npy or raw values; any size, with Content-Length. Not GGUF: its readers know of
   *         no rotation, and `/v1/quantize` does not write one there either
   * 200:    safetensors: chosen float tensors in f32, of the same names and shapes; others as they came
   * Errors: 400 malformed_body, 411 length_required, 413 body_too_large (too many tensors),
   *         415 unsupported_media_type, 422 invalid_option | unsupported_dtype |
   *         shape_mismatch (the last dimension is no multiple of the segment)
   */
  .post("/v1/hadamard", async (c) => {
    const options = optionsOf(c, HADAMARD_OPTIONS);
    const body = await openTensors(c, rawOf(options));
    const request = { operation: "hadamard", options } as const;
    return answerConversion(body, (input) => planFile(input, request));
  });
