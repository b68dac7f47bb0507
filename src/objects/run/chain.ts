/**
 * What binds a run's steps. `results` is of what they came to, whoever trained (results-digest.ts); `chain` is of that
 * and of who told it: each shard's digests, and the authors.
 */
import { jsonDigest } from "../../api/digest.ts";
import type { RunConfig } from "../../api/run-config.ts";
import type { AgreedResult } from "../../api/run-metrics.ts";
import type { Update } from "../../training/optimizer.ts";
import { firstResults, nextResults } from "../../training/results-digest.ts";
import { says, type StoredBallot } from "./ballot-store.ts";

export type Link = { results: string; chain: string };

/** Before the first step. */
export async function firstLink(config: RunConfig): Promise<Link> {
  const results = await firstResults(config);
  return { results, chain: await jsonDigest([results, config.shards]) };
}

export async function nextLink(
  before: Link,
  microbatches: readonly AgreedResult[],
  update: Update,
  gradNorm: number,
): Promise<Link> {
  const results = await nextResults(
    before.results,
    microbatches,
    update,
    gradNorm,
  );
  const told = microbatches.map(({ digests, authors }) => [digests, authors]);
  return { results, chain: await jsonDigest([before.chain, results, told]) };
}

/** By microbatch, what was told of it: one result of each that is committed. */
export function resultsOf(
  ballots: ReadonlyMap<number, readonly StoredBallot[]>,
): AgreedResult[] {
  return [...ballots].flatMap(([index, told]) => {
    const alike = Map.groupBy(told, (ballot) => says(ballot));
    return Array.from(alike.values(), (same) => {
      const { lossSum, tokens, bytes, digests } = same[0]!;
      const authors = same.map(({ author }) => author);
      return { index, lossSum, tokens, bytes, digests, authors };
    });
  });
}
