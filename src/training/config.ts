/** What `POST /v1/runs` takes, and what makes of it a whole `RunConfig`. */
import * as z from "zod";
import { AppError } from "../api/errors.ts";
import {
  completeOptimizer,
  OPTIMIZER_NAMES,
  optimizerProblems,
  SCHEDULES,
} from "../api/optimizer.ts";
import { DEFAULT_RECIPE, RECIPE_NAMES, segmentLength } from "../api/recipe.ts";
import {
  type ModelShape,
  type PinnedDataset,
  type PinnedModel,
  type RunConfig,
  type RunRequest,
  WIRE_DTYPES,
} from "../api/types.ts";
import { architectureOf, modelOf } from "../model/architectures.ts";
import { MAX_VOCABULARY } from "../tokenizers/bpe.ts";
import { splitTokens } from "./data.ts";
import {
  defaultShards,
  MAX_SHARD_LENGTH,
  MAX_SHARDS,
  shardLimit,
  tooLarge,
  largestShard,
} from "./sharding.ts";

/** A frame's step is a u32, and a run keeps a few rows a step. */
const MAX_STEPS = 1_000_000;
export const MAX_MICROBATCHES = 256;
/** Of one microbatch: its activations and logits must fit an isolate. */
const MAX_MICROBATCH_TOKENS = 16_384;
const MAX_LOGITS = 8 * 1024 * 1024;

/** A majority of more is no surer of who lies, and each costs a whole run's computing. */
const MAX_REDUNDANCY = 9;

/** Letters, digits, `.`, `_`, `-`: names travel in paths and in header values. */
export const NAME_PATTERN = /^[A-Za-z0-9._-]{1,64}$/;
export const RUN_PATTERN = /^[a-z0-9][a-z0-9-]{0,39}$/;

const count = (max: number) => z.int().min(1).max(max);
const positive = z.number().gt(0).max(1e6);
const fraction = z.number().min(0).max(1);

const modelSchema = z.strictObject({
  layers: count(64).default(4),
  width: count(4096).default(128),
  heads: count(64).default(4),
  context: count(4096).default(128),
  vocabulary: count(MAX_VOCABULARY).optional(),
});

/** What is not told follows from the optimizer's name. */
const optimizerSchema = z.strictObject({
  name: z.enum(OPTIMIZER_NAMES).optional(),
  learningRate: positive.optional(),
  matrixLearningRate: positive.optional(),
  schedule: z.enum(SCHEDULES).optional(),
  finalLearningRateRatio: fraction.optional(),
  warmupSteps: z.int().min(0).max(MAX_STEPS).optional(),
  cooldownSteps: z.int().min(0).max(MAX_STEPS).optional(),
  momentum: z.number().min(0).lt(1).optional(),
  beta1: z.number().min(0).lt(1).optional(),
  beta2: z.number().min(0).lt(1).optional(),
  epsilon: positive.optional(),
  weightDecay: z.number().min(0).max(1e3).optional(),
  clip: positive.optional(),
});

const evaluationSchema = z.strictObject({
  interval: count(MAX_STEPS).default(100),
  microbatches: count(1024).default(8),
});

/** Unknown keys are refused; the defaults are the default run. */
export const runRequestSchema = z.strictObject({
  run: z.string().regex(RUN_PATTERN).optional(),
  dataset: z.string().regex(NAME_PATTERN),
  model: modelSchema.prefault({}),
  from: z.string().regex(NAME_PATTERN).optional(),
  recipe: z.enum(RECIPE_NAMES).default(DEFAULT_RECIPE),
  gradientDtype: z.enum(WIRE_DTYPES).default("mxfp4"),
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  steps: count(MAX_STEPS).default(800),
  microbatches: count(MAX_MICROBATCHES).default(4),
  sequences: count(1024).default(2),
  optimizer: optimizerSchema.prefault({}),
  evaluation: evaluationSchema.prefault({}),
  /** Without it, as many as the parameters need, and two at least. */
  shards: count(MAX_SHARDS).optional(),
  snapshotSteps: count(MAX_STEPS).default(100),
  verify: fraction
    .optional()
    .describe(
      "The share of microbatches that a second author computes before the commit",
    ),
  redundancy: count(MAX_REDUNDANCY)
    .optional()
    .describe("So many authors compute each microbatch"),
});

/** A request with its defaults filled in. */
export type ParsedRunRequest = z.output<typeof runRequestSchema>;

// What clients send and what the schema takes are one type.
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
true satisfies Same<keyof RunRequest, keyof z.input<typeof runRequestSchema>>;

/**
 * The configuration of a run over `dataset`, every rule that spans several fields checked.
 * Errors: `invalid_config`, with all that is wrong
 */
export function completeConfig(
  request: ParsedRunRequest,
  dataset: PinnedDataset,
  imported?: { shape: ModelShape; from: PinnedModel },
): RunConfig {
  const { run: _run, dataset: _name, from: _from, ...rest } = request;
  const model = imported?.shape ?? {
    ...request.model,
    vocabulary: dataset.vocabulary,
  };
  const shape = shapeProblems({ ...request, model });
  const sharding = shape.canBe ? shardsOf(model, request.shards) : undefined;
  const problems = [
    ...shape.problems,
    ...(sharding?.problems ?? []),
    ...(imported
      ? importProblems(request, dataset, imported.shape)
      : vocabularyProblems(dataset, request.model.vocabulary)),
    ...dataProblems(dataset, model),
    ...optimizerProblems(request.optimizer, request.steps),
  ];
  if (!sharding || problems.length > 0) {
    throw new AppError("invalid_config", problems.join("; "));
  }
  return {
    ...rest,
    dataset,
    model,
    ...(imported && { from: imported.from }),
    optimizer: completeOptimizer(request.optimizer),
    shards: sharding.shards,
  };
}

type MicrobatchShape = Pick<RunConfig, "model" | "sequences" | "recipe">;

/** What is wrong with a microbatch, for any trainer. */
export function microbatchProblems(microbatch: MicrobatchShape): string[] {
  return shapeProblems(microbatch).problems;
}

/** `canBe`: there is such a model, whether it can be trained or not. */
function shapeProblems({ model, sequences, recipe }: MicrobatchShape): {
  canBe: boolean;
  problems: string[];
} {
  const problems: string[] = [];
  const note = (check: () => void): boolean => {
    try {
      check();
      return true;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (!problems.includes(error.message)) problems.push(error.message);
      return false;
    }
  };
  const architecture = architectureOf(model);
  const canBe = note(() => architecture.check(model));
  note(() =>
    architecture.checkTraining(model, sequences, segmentLength(recipe)),
  );

  const tokens = sequences * model.context;
  const fitting = (limit: number): string => {
    const most = Math.floor(limit / model.context);
    return most > 0 ? `; at most ${most} sequences fit` : "";
  };
  if (tokens > MAX_MICROBATCH_TOKENS) {
    problems.push(
      `Expected at most ${MAX_MICROBATCH_TOKENS} tokens in a microbatch, got ${sequences} sequences of ${model.context} = ${tokens}${fitting(MAX_MICROBATCH_TOKENS)}`,
    );
  }
  if (tokens * model.vocabulary > MAX_LOGITS) {
    problems.push(
      `Expected at most ${MAX_LOGITS} logits in a microbatch, got ${tokens} tokens of ${model.vocabulary}${fitting(MAX_LOGITS / model.vocabulary)}`,
    );
  }
  return { canBe, problems };
}

/** How many shards, and what is wrong with as many as were asked for. */
function shardsOf(
  model: ModelShape,
  asked: number | undefined,
): { shards: number; problems: string[] } {
  const { table } = modelOf(model);
  const large = tooLarge(table);
  if (large) {
    return {
      shards: MAX_SHARDS,
      problems: [
        `Expected matrices of at most ${MAX_SHARD_LENGTH} parameters, since a shard has them whole, got ${large.length} in ${large.name}`,
      ],
    };
  }
  const fitting = defaultShards(table);
  if (fitting === undefined) {
    return {
      shards: MAX_SHARDS,
      problems: [
        `Expected parameters for at most ${MAX_SHARDS} shards of ${MAX_SHARD_LENGTH}, got ${table.length}`,
      ],
    };
  }
  if (asked === undefined) return { shards: fitting, problems: [] };
  const most = shardLimit(table);
  if (asked > most) {
    return {
      shards: asked,
      problems: [
        `Expected \`shards\` to be at most ${most}, the parts into which ${table.length} parameters can be cut, got ${asked}`,
      ],
    };
  }
  const largest = largestShard(table, asked);
  if (largest <= MAX_SHARD_LENGTH) return { shards: asked, problems: [] };
  return {
    shards: asked,
    problems: [
      `Expected shards of at most ${MAX_SHARD_LENGTH} parameters, got ${largest}: ${table.length} parameters in ${asked} shards; \`shards\` of ${fitting} fit, or leave it out`,
    ],
  };
}

function vocabularyProblems(
  { name, vocabulary }: PinnedDataset,
  asked: number | undefined,
): string[] {
  if (asked === undefined || asked === vocabulary) return [];
  return [
    `Expected \`vocabulary\` to be that of dataset "${name}", ${vocabulary}, or not to be told, got ${asked}`,
  ];
}

/** Sizes are the folder's; those that are told beside it must be so. */
function importProblems(
  { model: asked }: ParsedRunRequest,
  { name, vocabulary }: PinnedDataset,
  shape: ModelShape,
): string[] {
  const defaults = modelSchema.parse({});
  const sizes = Object.keys(shape) as (keyof ModelShape)[];
  const other = sizes.find(
    (size) => asked[size] !== defaults[size] && asked[size] !== shape[size],
  );
  return [
    ...(other === undefined
      ? []
      : [
          `Expected \`${other}\` of the model that the run goes on from, ${shape[other]}, or not to be told, got ${asked[other]}`,
        ]),
    ...(shape.vocabulary === vocabulary
      ? []
      : [
          `Expected a dataset of the ${shape.vocabulary} ids that the model has, got "${name}" of ${vocabulary}`,
        ]),
  ];
}

function dataProblems(dataset: PinnedDataset, model: ModelShape): string[] {
  const { train, heldOut } = splitTokens(dataset.tokens);
  const needed = model.context + 1;
  const shorter = Math.min(train.length, heldOut.length);
  if (shorter >= needed) return [];
  return [
    `Expected at least ${needed} tokens (context + 1) in both splits, got ${train.length} to train on and ${heldOut.length} held out of ${dataset.tokens}; a longer text or a shorter context has them`,
  ];
}
