import { Hono } from "hono";
import { AppError } from "../../api/errors.ts";
import { planDequantize } from "../../formats/operations/dequantize-file.ts";
import type { DecodedDtype } from "../../formats/dtype.ts";
import {
  planDequantizeGguf,
  planQuantizeGguf,
} from "../../formats/operations/gguf-file.ts";
import { planHadamard } from "../../formats/operations/hadamard-file.ts";
import { LAYOUTS } from "../../formats/blocks/layout.ts";
import { planQuantize } from "../../formats/operations/quantize-file.ts";
import { SEGMENT_LENGTHS } from "../../kernels/hadamard.ts";
import { analyzeRoutes } from "./analyze-routes.ts";
import type { AppEnv } from "../env.ts";
import { gemmRoutes } from "./gemm-routes.ts";
import { checkQuery, choice, wholeNumber } from "../query.ts";
import { answerConversion } from "./tensor-answer.ts";
import { openTensors, rawHead } from "./tensor-body.ts";
import {
  RAW_OPTIONS,
  SCHEME_OPTIONS,
  schemeOf,
  SELECTION_OPTIONS,
  selectionOf,
} from "./tensor-query.ts";

export const tensorRoutes = new Hono<AppEnv>()
  .route("/", analyzeRoutes)
  .route("/", gemmRoutes)

  /**
   * Quantize to MXFP4, in one pass. The answer is a pure function of the request.
   *
   * Query:  rounding   nearest-even (default) | nearest-away | nearest-zero (ggml's) | stochastic
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
    checkQuery(
      c,
      [...SCHEME_OPTIONS, "layout", ...RAW_OPTIONS],
      SELECTION_OPTIONS,
    );
    const scheme = schemeOf(c);
    const selection = selectionOf(c);
    const asked = c.req.query("layout");
    const layout = choice(c, "layout", LAYOUTS, "gpt-oss");
    const body = await openTensors(c, rawHead(c));

    return answerConversion(body, (input) => {
      const options = { scheme, layout, selection };
      if (input.container !== "gguf") return planQuantize(input, options);
      if (asked === undefined || layout === "ggml")
        return planQuantizeGguf(input, options);
      throw new AppError(
        "invalid_option",
        `Expected layout=ggml for GGUF, got "${layout}"`,
      );
    });
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
    checkQuery(c, ["dtype"]);
    const name = choice(c, "dtype", ["f32", "bf16", "f16"], "f32");
    const dtype = name.toUpperCase() as DecodedDtype;
    const body = await openTensors(c);

    return answerConversion(body, (input) =>
      input.container === "gguf"
        ? planDequantizeGguf(input, dtype)
        : planDequantize(input, dtype),
    );
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
    checkQuery(
      c,
      ["direction", "hadamard", "seed", ...RAW_OPTIONS],
      SELECTION_OPTIONS,
    );
    const options = {
      direction: choice(c, "direction", ["forward", "inverse"], "forward"),
      segmentLength: choice(c, "hadamard", SEGMENT_LENGTHS, 64),
      seed: wholeNumber(c, "seed", 0),
      selection: selectionOf(c),
    };
    const body = await openTensors(c, rawHead(c));

    return answerConversion(body, (input) => planHadamard(input, options));
  });
