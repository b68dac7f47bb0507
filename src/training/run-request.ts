/** The schema of the body of `POST /v1/runs`. */
import * as z from "zod";
import { once } from "../api/once.ts";
import {
  OPTIMIZER_NAMES,
  type OptimizerConfig,
  SCHEDULES,
} from "../api/optimizer.ts";
import { DEFAULT_RECIPE, RECIPE_NAMES } from "../api/recipe.ts";
import {
  ARCHITECTURES,
  type ModelRequest,
  type RunRequest,
  type WireDtype,
  WIRE_DTYPES,
  DEFAULT_ARCHITECTURE,
} from "../api/run-config.ts";
import {
  FILE_NAME,
  follows,
  NAME,
  RUN_ID,
  RUN_NAME,
  type TextRule,
} from "../api/text-rules.ts";
import { MAX_VOCABULARY } from "../tokenizers/bpe.ts";
import { MAX_SHARDS } from "./sharding.ts";

/** Bounds what a run stores per step. */
const MAX_STEPS = 1_000_000;
export const MAX_MICROBATCHES = 256;
/** More authors hardly make the majority more reliable, and each costs another computation of the whole run. */
const MAX_REDUNDANCY = 9;

/** A string that follows `rule`; errors use the rule's `words`. */
export function ruled(rule: TextRule): z.ZodString {
  const { pattern, words, maxBytes } = rule;
  const text = z.string().regex(pattern, `to be ${words}`);
  if (maxBytes === undefined) return text;
  // A value that the pattern refuses is reported only once.
  return text.refine((value) => !pattern.test(value) || follows(rule, value), {
    message: `to be ${words}`,
  });
}

/** An id that no other run has. */
export function newRunName(): string {
  const words = crypto.getRandomValues(new Uint32Array(2));
  return `run-${Array.from(words, (word) => word.toString(36)).join("")}`;
}

const count = (max: number) => z.int().min(1).max(max);
const positiveUpTo = (max: number) => z.number().gt(0).max(max);
const positive = once(() => positiveUpTo(1e6));
const fraction = once(() => z.number().min(0).max(1));

/** The default run. */
export const DEFAULTS = {
  model: { layers: 4, width: 128, heads: 4, context: 128 },
  recipe: DEFAULT_RECIPE,
  gradientDtype: "mxfp4" as WireDtype,
  seed: 0,
  steps: 800,
  microbatches: 4,
  sequences: 2,
  optimizer: {} as Partial<OptimizerConfig>,
  evaluation: { interval: 50, microbatches: 8 },
  snapshotSteps: 100,
};

/** The default is only documented, not filled in: a resumed run takes its checkpoint's value. */
const told = <S extends z.ZodType>(schema: S, fallback: z.output<S>) =>
  schema.optional().meta({ default: fallback });

const modelSchema = once(() =>
  z.strictObject({
    layers: told(count(64), DEFAULTS.model.layers),
    width: told(count(4096), DEFAULTS.model.width),
    heads: told(count(64), DEFAULTS.model.heads),
    context: told(count(4096), DEFAULTS.model.context),
    vocabulary: count(MAX_VOCABULARY).optional(),
    arch: told(z.enum(ARCHITECTURES), DEFAULT_ARCHITECTURE),
    groups: count(64)
      .optional()
      .describe(
        "Llama: number of key-value heads (default: half the heads if even, else all)",
      ),
    headWidth: count(1024)
      .optional()
      .describe("Llama: width of a head (default: width / heads)"),
    hidden: count(16_384)
      .optional()
      .describe("Llama: width of the gated layer (default: 3 · width)"),
    ropeBase: positiveUpTo(1e9)
      .optional()
      .describe("Llama: base of the rotary positions (default: 10000)"),
    epsilon: positiveUpTo(1)
      .optional()
      .describe("Llama: added to the mean square in norms (default: 0.00001)"),
    tied: z
      .boolean()
      .optional()
      .describe(
        "Llama: the output head is the token embedding (default: true)",
      ),
    headNorm: z
      .boolean()
      .optional()
      .describe(
        "Llama: normalize queries and keys per head, as in Qwen3 (default: false)",
      ),
    qkvBias: z
      .boolean()
      .optional()
      .describe(
        "Llama: biases of queries, keys and values, as in Qwen2 (default: false)",
      ),
  }),
);

/** The schema of a complete model, as stored in configs. */
export function storedModelSchema(model: unknown) {
  const { layers, width, heads, context, vocabulary } = modelSchema().shape;
  const isLlama = (model as ModelRequest | undefined)?.arch === "llama";
  if (!isLlama)
    return z
      .strictObject({ layers, width, heads, context, vocabulary })
      .required();
  return modelSchema()
    .required()
    .extend({
      qkvBias: z.literal(true).optional(),
      outBias: z.literal(true).optional(),
      mlpBias: z.literal(true).optional(),
      ropeScaling: ropeScalingSchema().optional(),
    });
}

/** Only of a model given by `from`. */
export const ropeScalingSchema = once(() => {
  const factor = z.number().positive();
  return z.discriminatedUnion("type", [
    z.strictObject({ type: z.literal("linear"), factor }),
    z.strictObject({
      type: z.literal("llama3"),
      factor,
      lowFrequencyFactor: z.number().positive(),
      highFrequencyFactor: z.number().positive(),
      originalContext: z.number().positive(),
    }),
    z.strictObject({
      type: z.literal("yarn"),
      factor,
      betaFast: z.number().positive(),
      betaSlow: z.number().positive(),
      originalContext: z.number().positive(),
      attentionFactor: z.number().positive(),
      truncate: z.boolean(),
    }),
    z.strictObject({
      type: z.literal("factors"),
      factors: z.array(z.number().positive()),
      attentionFactor: z.number().positive().optional(),
    }),
  ]);
});

/** Defaults depend on the optimizer's name. */
const optimizerSchema = once(() =>
  z.strictObject({
    name: z.enum(OPTIMIZER_NAMES).optional(),
    learningRate: positive().optional(),
    matrixLearningRate: positive().optional(),
    schedule: z.enum(SCHEDULES).optional(),
    finalLearningRateRatio: fraction().optional(),
    warmupSteps: z.int().min(0).max(MAX_STEPS).optional(),
    cooldownSteps: z.int().min(0).max(MAX_STEPS).optional(),
    momentum: z.number().min(0).lt(1).optional(),
    beta1: z.number().min(0).lt(1).optional(),
    beta2: z.number().min(0).lt(1).optional(),
    epsilon: positive().optional(),
    weightDecay: z.number().min(0).max(1e3).optional(),
    clip: positive().optional(),
  }),
);

const evaluationSchema = once(() =>
  z.strictObject({
    interval: told(count(MAX_STEPS), DEFAULTS.evaluation.interval),
    microbatches: told(count(1024), DEFAULTS.evaluation.microbatches),
  }),
);

/** Unknown keys are refused. */
export const runRequestSchema = once(() =>
  z.strictObject({
    run: ruled(RUN_ID).optional(),
    name: ruled(RUN_NAME)
      .optional()
      .describe("Display name; no result depends on it"),
    dataset: ruled(NAME),
    model: modelSchema().optional(),
    from: ruled(FILE_NAME).optional(),
    resume: z.boolean().optional(),
    recipe: told(z.enum(RECIPE_NAMES), DEFAULTS.recipe),
    gradientDtype: told(z.enum(WIRE_DTYPES), DEFAULTS.gradientDtype),
    seed: told(z.int().min(0).max(Number.MAX_SAFE_INTEGER), DEFAULTS.seed),
    steps: told(count(MAX_STEPS), DEFAULTS.steps),
    microbatches: told(count(MAX_MICROBATCHES), DEFAULTS.microbatches),
    sequences: told(count(1024), DEFAULTS.sequences),
    optimizer: optimizerSchema().optional(),
    evaluation: evaluationSchema().optional(),
    /** Default: as many as the parameters need, at least two. */
    shards: count(MAX_SHARDS).optional(),
    snapshotSteps: told(count(MAX_STEPS), DEFAULTS.snapshotSteps),
    subtree: z
      .int()
      .min(2)
      .max(MAX_MICROBATCHES / 2)
      .optional()
      .describe(
        "Sum the gradients of this many neighbouring microbatches, a power of two, in a separate object before the shard",
      ),
    verify: fraction()
      .optional()
      .describe(
        "Fraction of microbatches that a second author computes before the commit",
      ),
    redundancy: count(MAX_REDUNDANCY)
      .optional()
      .describe("Number of authors that compute each microbatch"),
  }),
);

export type ParsedRunRequest = z.output<ReturnType<typeof runRequestSchema>>;

// Compile-time check: `RunRequest`, which clients send, has the same keys as this schema.
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
true satisfies Same<
  keyof RunRequest,
  keyof z.input<ReturnType<typeof runRequestSchema>>
>;
true satisfies Same<
  keyof ModelRequest,
  keyof z.input<ReturnType<typeof modelSchema>>
>;
