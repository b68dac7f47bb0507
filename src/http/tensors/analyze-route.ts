import * as z from "zod";
import { once } from "../../api/once.ts";
import { ANALYZE_MODEL_OPTIONS } from "../../api/options.ts";
import { LOADERS } from "../../api/scheme.ts";
import type { Analysis } from "../../api/tensors.ts";
import { fileAnalysis } from "../../checkpoints/file-analysis.ts";
import { rawOf } from "../../formats/operations/file-operation.ts";
import { run } from "../../formats/stream/conversion.ts";
import { isolateMemory, type Reservation } from "../../memory/ledger.ts";
import { whole } from "../declaration/json-values.ts";
import { route } from "../declaration/route.ts";
import { PIECES_BYTES } from "./tensor-answer.ts";
import { openTensors } from "./tensor-body.ts";
import {
  ANY_FILE,
  exampleCheckpoint,
  TENSOR_ERRORS,
} from "./tensor-descriptions.ts";
import { json } from "../json.ts";
import {
  answerSchema,
  type OutputOf,
  type Same,
} from "../declaration/schema.ts";

const figure = once(() => z.number().nullable());
const share = once(() =>
  z.number().min(0).max(1).describe("Fraction of the elements"),
);

const figures = once(() =>
  z.strictObject({
    elements: whole(),
    kurtosis: figure().describe(
      "3 for normally distributed values, large with outliers",
    ),
    schemes: z.array(
      z.strictObject({
        scheme: z.string(),
        sqnrDb: figure().describe(
          "Signal to quantization noise in dB; null if there is no error",
        ),
        mse: figure(),
        cosine: figure(),
        maxError: figure(),
        clipped: share(),
        zeroed: share(),
        nan: share(),
      }),
    ),
    recommended: z.string().nullable(),
  }),
);

const analysis = answerSchema("Analysis", () =>
  z.strictObject({
    tensors: z.array(
      figures().extend({
        name: z.string(),
        dtype: z.string(),
        shape: z.array(whole()).readonly(),
      }),
    ),
    passedOver: z
      .array(
        z.strictObject({
          name: z.string(),
          dtype: z
            .string()
            .describe("As named by the container, such as I64 or Q4_0"),
          shape: z.array(whole()).readonly(),
          reason: z.string(),
        }),
      )
      .describe("Selected tensors that quantizing would not change"),
    total: figures(),
    rule: z.string().describe("The rule by which a scheme is recommended"),
    loaders: z
      .array(
        z.strictObject({
          loader: z.enum(LOADERS),
          tensors: whole().describe(
            "The analyzed tensors that the loader accepts in MXFP4",
          ),
          recommended: z.string().nullable(),
          refusal: z.string().nullable().describe("Why it accepts none"),
        }),
      )
      .describe("For a model: how to quantize it for each loader"),
    refused: z
      .array(z.strictObject({ scheme: z.string(), reason: z.string() }))
      .describe(
        "Schemes that no loader undoes, which are not analyzed for a model",
      ),
  }),
);
true satisfies Same<OutputOf<typeof analysis>, Analysis>;

export const ANALYZE = route({
  id: "analyze",
  method: "post",
  path: "/v1/analyze",
  tag: "tensors",
  access: "owner",
  summary:
    "Report the quantization error of each tensor, for one or more schemes",
  description:
    "In one pass; nothing is stored. docs/analyze.md defines each figure; a figure without a value, such as sqnrDb without any error, is null. Tensors that quantize would not change, such as integers and the quantized types of a GGUF, are listed with their type. With `for`, only tensors that the loader accepts in MXFP4 and schemes that it undoes are analyzed (by default, each scale rule), and `loaders` has the best choice for it. A job can do the same for a folder.",
  options: ANALYZE_MODEL_OPTIONS,
  body: ANY_FILE,
  answers: {
    200: { description: "Figures, and a recommendation", json: analysis },
  },
  errors: [...TENSOR_ERRORS, "nothing_to_convert"],
  examples: {
    one: { summary: "The default scheme", body: exampleCheckpoint },
    compare: {
      summary: "Three named schemes and one of the caller's own",
      query: { compare: "ocp,gpt-oss,paper,rounding=stochastic;hadamard=32" },
      body: exampleCheckpoint,
    },
  },
  async handle(c, { options }) {
    const planned = fileAnalysis(options);
    const { source, plan } = await openTensors(c, rawOf(options));
    let reservation: Reservation | undefined;
    try {
      const { conversion, report } = plan(planned);
      reservation = await isolateMemory.reserve(PIECES_BYTES);
      // The output is the report again; iterating only runs the analysis.
      for await (const _ of run(conversion, source));
      await source.expectEnd();
      return json(report());
    } catch (error) {
      source.leave();
      throw error;
    } finally {
      reservation?.release();
    }
  },
});
