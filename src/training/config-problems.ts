/** Rules of a run's config that involve several fields. Each function returns the violations as messages. */
import { AppError } from "../api/errors.ts";
import { shown } from "../api/option-kinds.ts";
import { segmentLength } from "../api/recipe.ts";
import type { PinnedDataset } from "../api/dataset.ts";
import {
  type ModelShape,
  type RunConfig,
  DEFAULT_ARCHITECTURE,
} from "../api/run-config.ts";
import { architectureOf, modelOf } from "../model/architectures.ts";
import { splitTokens } from "./data.ts";
import type { ParsedRunRequest } from "./run-request.ts";
import {
  defaultShards,
  MAX_SHARD_LENGTH,
  MAX_SHARDS,
  shardLimit,
  tooLarge,
  largestShard,
} from "./sharding.ts";

/** Bounds the activations of a microbatch. */
const MAX_MICROBATCH_TOKENS = 16_384;

type MicrobatchShape = Pick<RunConfig, "model" | "sequences" | "recipe">;

/** Rules that hold for every trainer, whatever its memory. */
export function microbatchProblems(microbatch: MicrobatchShape): string[] {
  return shapeProblems(microbatch).problems;
}

/** `canBe`: the architecture accepts the model's sizes, so that its parameter table can be computed. */
export function shapeProblems({ model, sequences, recipe }: MicrobatchShape): {
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
  if (tokens > MAX_MICROBATCH_TOKENS) {
    const most = Math.floor(MAX_MICROBATCH_TOKENS / model.context);
    const fitting = most > 0 ? `; at most ${most} sequences fit` : "";
    problems.push(
      `Expected at most ${MAX_MICROBATCH_TOKENS} tokens in a microbatch, got ${sequences} sequences of ${model.context} = ${tokens}${fitting}`,
    );
  }
  return { canBe, problems };
}

/** The number of shards: `asked`, or as many as the model needs; and what is wrong with `asked`. */
export function shardingOf(
  model: ModelShape,
  asked: number | undefined,
): { shards: number; problems: string[] } {
  const { table } = modelOf(model);
  const large = tooLarge(table);
  if (large) {
    return {
      shards: MAX_SHARDS,
      problems: [
        `Expected matrices of at most ${MAX_SHARD_LENGTH} parameters, since a matrix is never split between shards, got ${large.length} in ${large.name}`,
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

export function vocabularyProblems(
  { name, vocabulary }: PinnedDataset,
  asked: number | undefined,
): string[] {
  if (asked === undefined || asked === vocabulary) return [];
  return [
    `Expected \`vocabulary\` to be that of dataset "${name}", ${vocabulary}, or left out, got ${asked}`,
  ];
}

/** A run that starts from a model takes its sizes; sizes in the request must be equal to them. */
export function importProblems(
  { model: asked = {} }: ParsedRunRequest,
  { name, vocabulary }: PinnedDataset,
  shape: ModelShape,
): string[] {
  const own: Record<string, unknown> = {
    arch: DEFAULT_ARCHITECTURE,
    qkvBias: false,
    ...shape,
  };
  const other = Object.entries(asked).find(
    ([size, value]) => value !== undefined && value !== own[size],
  );
  const told = (value: unknown) => shown(value ?? null);
  return [
    ...(other === undefined
      ? []
      : [
          `Expected \`${other[0]}\` to be that of the model in \`from\`, ${told(own[other[0]])}, or left out, got ${told(other[1])}`,
        ]),
    ...(shape.vocabulary === vocabulary
      ? []
      : [
          `Expected a dataset with the model's vocabulary of ${shape.vocabulary} ids, got "${name}" with ${vocabulary}`,
        ]),
  ];
}

export function dataProblems(
  dataset: Pick<PinnedDataset, "tokens">,
  model: ModelShape,
): string[] {
  const { train, heldOut } = splitTokens(dataset.tokens);
  const needed = model.context + 1;
  const shorter = Math.min(train.length, heldOut.length);
  if (shorter >= needed) return [];
  return [
    `Expected at least ${needed} tokens (context + 1) in both splits, got ${train.length} to train on and ${heldOut.length} held out of ${dataset.tokens}; use a longer text or a shorter context`,
  ];
}
