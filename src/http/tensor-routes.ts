import { type Context, Hono } from "hono";
import { AppError } from "../api/errors.ts";
import { dtypeBytes, type FloatDtype } from "../formats/dtype.ts";
import {
  dequantizeFile,
  LAYOUTS,
  PRESCALES,
  quantizeFile,
  SEGMENT_CHOICES,
} from "../formats/mxfp4-file.ts";
import { ROUNDING_MODES } from "../formats/mxfp4.ts";
import {
  elementCount,
  type Metadata,
  readSafetensors,
  type SafetensorsFile,
  type TensorSource,
  writeSafetensors,
} from "../formats/safetensors.ts";
import { SCALE_RULES } from "../kernels/mxfp4.ts";
import { readBody } from "./body.ts";
import type { AppEnv } from "./env.ts";
import { checkQuery, choice, patterns, sizes, wholeNumber } from "./query.ts";

const MAX_BODY_BYTES = 16 * 1024 * 1024;
const BINARY = "application/octet-stream";
const SAFETENSORS = "application/vnd.safetensors";

export const tensorRoutes = new Hono<AppEnv>()

  /**
   * Quantize to MXFP4. The answer is a pure function of the request.
   *
   * Query:  rounding   nearest-even (default) | nearest-away | stochastic
   *         scale      floor (default) | rceil (default of stochastic)
   *         prescale   1 (default) | 0.75; with floor and stochastic: Algorithm 2, E = 3/4 · input
   *         hadamard   0 (default) | 16 | 32 | 64 | 128 | 256: length of an RHT segment
   *         seed       0 (default) … 2^53 − 1, for signs and stochastic rounding
   *         layout     gpt-oss (default)
   *         include, exclude   tensor names, with * and ?; may repeat
   *         dtype, shape       f32 | f16 | bf16 | f64, and sizes as in 4,64: the body is one raw tensor `x`
   * Body:   safetensors, or raw little-endian values; at most 16 MiB
   * 200:    safetensors: `x` [..., K] is now `x_blocks` u8 [..., K/32, 16] and `x_scales` u8 [..., K/32];
   *         integer, 0-D and excluded tensors as they came; metadata `mxfp4.*` records every choice
   * Errors: 400 malformed_body, 413 body_too_large, 415 unsupported_media_type,
   *         422 invalid_option | shape_mismatch (K is no multiple of 32, or of the segment) |
   *         unsupported_dtype | name_collision
   */
  .post("/v1/quantize", async (c) => {
    checkQuery(
      c,
      [
        "rounding",
        "scale",
        "prescale",
        "hadamard",
        "seed",
        "layout",
        "dtype",
        "shape",
      ],
      ["include", "exclude"],
    );
    choice(c, "layout", LAYOUTS, "gpt-oss");
    const rounding = choice(c, "rounding", ROUNDING_MODES, "nearest-even");
    const scheme = {
      rounding,
      scale: choice(
        c,
        "scale",
        SCALE_RULES,
        rounding === "stochastic" ? "rceil" : "floor",
      ),
      prescale: choice(c, "prescale", PRESCALES, 1),
      hadamard: choice(c, "hadamard", SEGMENT_CHOICES, 0),
      seed: wholeNumber(c, "seed", 0),
    };
    const selection = {
      include: patterns(c, "include"),
      exclude: patterns(c, "exclude"),
    };
    const file = await readTensors(c, rawHead(c));

    return answer(quantizeFile(file, scheme, selection));
  })

  /**
   * Undo `/v1/quantize`: what its metadata records is all that is needed. Files without it, such as
   * gpt-oss checkpoints, decode plainly.
   *
   * Query:  dtype  f32 (default) | bf16 | f16, rounded to nearest even
   * Body:   safetensors, at most 16 MiB
   * 200:    safetensors: each pair `x_blocks` [..., G, 16], `x_scales` [..., G] is now `x` [..., 32·G];
   *         the rest as it came. Scale 255 is NaN
   * Errors: 400 malformed_body, 413 body_too_large, 415 unsupported_media_type,
   *         422 invalid_option | shape_mismatch | unsupported_dtype | name_collision
   */
  .post("/v1/dequantize", async (c) => {
    checkQuery(c, ["dtype"]);
    const dtype = choice(c, "dtype", ["f32", "bf16", "f16"], "f32");
    const file = await readTensors(c);

    return answer(
      dequantizeFile(file, dtype.toUpperCase() as Exclude<FloatDtype, "F64">),
    );
  });

type RawHead = { dtype: FloatDtype; shape: number[] };

/** What `dtype` and `shape` say of a raw body; undefined where the body says it itself. */
function rawHead(c: Context): RawHead | undefined {
  const shape = sizes(c, "shape");
  if ((c.req.query("dtype") === undefined) !== (shape === undefined)) {
    throw new AppError(
      "invalid_option",
      "Expected both `dtype` and `shape` for a raw body, or neither for safetensors, got one",
    );
  }
  if (shape === undefined) return undefined;
  const dtype = choice(c, "dtype", ["f32", "f16", "bf16", "f64"], "f32");
  return { dtype: dtype.toUpperCase() as FloatDtype, shape };
}

async function readTensors(
  c: Context,
  raw?: RawHead,
): Promise<SafetensorsFile> {
  checkContentType(c, raw ? [BINARY] : [BINARY, SAFETENSORS]);
  const bytes = await readBody(c, MAX_BODY_BYTES);
  if (!raw) return readSafetensors(bytes);
  const expected = dtypeBytes(raw.dtype, elementCount(raw.shape));
  if (bytes.length !== expected) {
    throw new AppError(
      "shape_mismatch",
      `Expected ${expected} bytes for ${raw.dtype} [${raw.shape.join(", ")}], got ${bytes.length}`,
    );
  }
  return { tensors: [{ name: "x", ...raw, bytes }], metadata: new Map() };
}

/** A request without a content type may be anything, so it is taken for what it should be. */
function checkContentType(c: Context, accepted: readonly string[]): void {
  const header = c.req.header("Content-Type");
  const type = header?.split(";")[0]!.trim().toLowerCase();
  if (type !== undefined && !accepted.includes(type)) {
    throw new AppError(
      "unsupported_media_type",
      `Expected Content-Type ${accepted.join(" or ")}, got "${header}"`,
    );
  }
}

/** A file as it is computed, so that a decoded one, up to eight times the body, needs no memory. */
function answer(file: {
  tensors: TensorSource[];
  metadata: Metadata;
}): Response {
  const { bytes, chunks } = writeSafetensors(file.tensors, file.metadata);
  return new Response(
    stream(chunks).pipeThrough(new FixedLengthStream(bytes)),
    {
      headers: { "Content-Type": BINARY, "X-Content-Type-Options": "nosniff" },
    },
  );
}

/** Chunks on demand: the next is made when the reader wants it. */
function stream(chunks: Iterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.iterator]();
  return new ReadableStream({
    pull(controller) {
      const next = iterator.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
  });
}
