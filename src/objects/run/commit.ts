/**
 * The commit of a step, in two phases. First all shards report squared norms; the clip coefficient and the learning
 * rates follow from their sum and are stored. Then all shards apply them. After a crash in the first phase it is
 * repeated; after one in the second, it continues with what was stored.
 */
import { fromResult, type Result } from "../../api/errors.ts";
import type { RunConfig } from "../../api/run-config.ts";
import { modelOf } from "../../model/architectures.ts";
import type { Update } from "../../training/optimizer.ts";
import { shardRanges } from "../../training/sharding.ts";
import { updateOf } from "../../training/step-end.ts";
import type { RunKeys } from "../platform/author.ts";
import type { Told } from "./ballot-store.ts";
import type { ShardStub } from "../shard/shard-stub.ts";

export type StepGradient =
  | { kind: "update"; update: Update; gradNorm: number }
  /** The norm is not finite. */
  | { kind: "diverged" }
  /** These were completed, but some shard does not have their push. */
  | { kind: "missing"; microbatches: number[] };

/** The first phase: computes the update of `step` from the pushes named in `results`. Changes nothing. */
export async function prepareStep(
  config: RunConfig,
  step: number,
  shards: readonly ShardStub[],
  results: readonly Told[],
): Promise<StepGradient> {
  const prepared = await allOf(shards, (shard, index) =>
    shard.prepare(step, takenOf(results, index)),
  );
  const missing = new Set(
    prepared.flatMap((part) => ("missing" in part ? part.missing : [])),
  );
  if (missing.size > 0) return { kind: "missing", microbatches: [...missing] };

  // One sum over all chunks in order, so that it does not depend on the shards' boundaries.
  const squares = prepared.flatMap((part) =>
    "norms" in part ? [...part.norms] : [],
  );
  const ended = updateOf(config, step, squares);
  return ended ? { kind: "update", ...ended } : { kind: "diverged" };
}

/** The second phase. Idempotent. */
export async function applyStep(
  update: Update,
  shards: readonly ShardStub[],
  results: readonly Told[],
): Promise<void> {
  const { step, clipCoefficient, learningRates: rates } = update;
  await allOf(shards, (shard, index) =>
    shard.apply(
      { step, clipCoefficient, learningRates: rates },
      takenOf(results, index),
    ),
  );
}

/** The digests of the pushes that a shard takes, by microbatch; null if there is only one, from an earlier release. */
function takenOf(results: readonly Told[], shard: number): (string | null)[] {
  return results.map(({ digests }) => digests[shard] ?? null);
}

/** Initializes all shards of a run with these keys. Idempotent. */
export async function initializeShards(
  config: RunConfig,
  keys: RunKeys,
  shards: readonly ShardStub[],
): Promise<void> {
  await allOf(shards, (shard, index) => shard.initialize(config, index, keys));
}

/** The ranges of a run's shards, and the length of the flat vector. */
export function runRanges(config: RunConfig) {
  const { table } = modelOf(config.model);
  return {
    parameters: table.length,
    shards: shardRanges(table, config.shards),
  };
}

export async function allOf<T>(
  shards: readonly ShardStub[],
  call: (shard: ShardStub, index: number) => Promise<Result<T>>,
): Promise<T[]> {
  const results = await Promise.all(shards.map(call));
  return results.map((result) => fromResult(result));
}
