/** What is done to a body of tensors, in one pass. */
import { AppError } from "../../api/errors.ts";
import { LAYOUTS } from "../../formats/blocks/layout.ts";
import type { DecodedDtype } from "../../formats/dtype.ts";
import { planDequantize } from "../../formats/operations/dequantize-file.ts";
import {
  planDequantizeGguf,
  planQuantizeGguf,
} from "../../formats/operations/gguf-file.ts";
import { planHadamard } from "../../formats/operations/hadamard-file.ts";
import { planQuantize } from "../../formats/operations/quantize-file.ts";
import { SEGMENT_LENGTHS } from "../../kernels/mxfp4.ts";
import { oneOf } from "../declaration/parameter.ts";
import { route } from "../declaration/route.ts";
import { ANALYZE } from "./analyze-route.ts";
import { GEMM } from "./gemm-route.ts";
import { answerConversion } from "./tensor-answer.ts";
import { openTensors } from "./tensor-body.ts";
import {
  ANY_FILE,
  exampleBytes,
  exampleCheckpoint,
  examplePair,
  fileAnswer,
  TENSOR_ERRORS,
} from "./tensor-descriptions.ts";
import {
  RAW,
  rawHead,
  SCHEME,
  schemeOf,
  SEED,
  SELECTION,
  selectionOf,
} from "./tensor-parameters.ts";

export const TENSOR_ROUTES = [
  route({
    id: "quantize",
    method: "post",
    path: "/v1/quantize",
    tag: "tensors",
    access: "owner",
    summary: "Quantize to MXFP4, in one pass",
    description:
      "Tensor `x` [..., K] becomes `x_blocks` u8 [..., K/32, 16] and `x_scales` u8 [..., K/32], its rows padded with zeros to whole blocks and segments; integer, 0-D and excluded tensors pass through. Metadata `mxfp4.*` records every choice. Of GGUF: GGUF, its matrices MXFP4. The answer is a pure function of the request.",
    query: {
      ...SCHEME,
      layout: oneOf(
        "How quantized tensors are named and arranged; gpt-oss unless told, or ggml for GGUF",
        LAYOUTS,
      ),
      ...SELECTION,
      ...RAW,
    },
    body: ANY_FILE,
    answers: { 200: fileAnswer("safetensors, or GGUF for GGUF") },
    errors: [...TENSOR_ERRORS, "name_collision"],
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
    async handle(c, query) {
      const scheme = schemeOf(query);
      const selection = selectionOf(query);
      const { layout } = query;
      const body = await openTensors(c, rawHead(query));

      return answerConversion(body, (input) => {
        if (input.container === "gguf") {
          checkGgufLayout(layout);
          return planQuantizeGguf(input, { scheme, layout: "ggml", selection });
        }
        const options = { scheme, layout: layout ?? "gpt-oss", selection };
        return planQuantize(input, options);
      });
    },
  }),

  route({
    id: "dequantize",
    method: "post",
    path: "/v1/dequantize",
    tag: "tensors",
    access: "owner",
    summary: "Undo quantize, in one pass",
    description:
      "What the metadata of a quantized file records is all that is needed. Files without it, such as gpt-oss checkpoints, decode plainly: each pair `x_blocks` [..., G, 16], `x_scales` [..., G] (also `x.blocks`, `x.scales` and `x_packed`, `x_scale`) becomes `x` [..., 32·G]; scale 255 is NaN. Of GGUF: GGUF. At most 32 MiB are held until the second part of a pair comes.",
    query: {
      dtype: oneOf("Of decoded tensors", ["f32", "bf16", "f16"], "f32"),
    },
    body: { description: "safetensors, or GGUF with MXFP4 tensors" },
    answers: { 200: fileAnswer("safetensors, or GGUF for GGUF") },
    errors: [...TENSOR_ERRORS, "name_collision"],
    examples: {
      pair: { summary: "A pair as gpt-oss has it, to f32", body: examplePair },
      bf16: { summary: "To bf16", query: { dtype: "bf16" }, body: examplePair },
    },
    async handle(c, query) {
      const dtype = query.dtype.toUpperCase() as DecodedDtype;
      const body = await openTensors(c);
      return answerConversion(body, (input) =>
        input.container === "gguf"
          ? planDequantizeGguf(input, dtype)
          : planDequantize(input, dtype),
      );
    },
  }),

  route({
    id: "hadamard",
    method: "post",
    path: "/v1/hadamard",
    tag: "tensors",
    access: "owner",
    summary: "Rotate by the blockwise random Hadamard transform, or back",
    description:
      "Chosen float tensors in f32, of the same names and shapes; others as they came. The seed's signs are those of quantize; forward and inverse together are the input up to rounding.",
    query: {
      direction: oneOf(
        "Forward is H · diag(signs) · segment",
        ["forward", "inverse"],
        "forward",
      ),
      hadamard: oneOf(
        "Length of a segment along the last dimension",
        SEGMENT_LENGTHS,
        64,
      ),
      ...SEED,
      ...SELECTION,
      ...RAW,
    },
    body: {
      description:
        "safetensors, .npy or raw values. GGUF is refused (415): its readers would not rotate back",
    },
    answers: { 200: fileAnswer("safetensors") },
    errors: TENSOR_ERRORS,
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
    async handle(c, query) {
      const { direction, seed, hadamard: segmentLength } = query;
      const selection = selectionOf(query);
      const body = await openTensors(c, rawHead(query));
      return answerConversion(body, (input) =>
        planHadamard(input, { direction, segmentLength, seed, selection }),
      );
    },
  }),

  ANALYZE,
  GEMM,
];

function checkGgufLayout(layout: string | undefined): void {
  if (layout === undefined || layout === "ggml") return;
  throw new AppError(
    "invalid_option",
    `Expected layout=ggml for GGUF, got "${layout}"`,
  );
}
