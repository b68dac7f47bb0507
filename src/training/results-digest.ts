/**
 * Two hash chains over a run's commits: each digest is a SHA-256 over its predecessor and the commit, so no step can
 * be changed afterwards without changing all that follow. `results` covers losses, norm and rates. It does not depend
 * on who trained or on the number of shards, so recomputing a run gives the same `results` up to the first false
 * step. `chain` also covers the gradient digests by shard and the authors.
 */
import { jsonDigest } from "../api/digest.ts";
import type { AgreedResult } from "../api/run-metrics.ts";
import type { RunConfig } from "../api/run-config.ts";
import { essentialConfig } from "./checkpoint.ts";
import type { Update } from "./optimizer.ts";
import type { LossSum } from "./step-end.ts";

export type Link = { results: string; chain: string };

/** A microbatch's result, without its authors. */
type Outcome = Omit<AgreedResult, "index" | "authors">;

/** `results` before the first step; for a resumed run, that of its checkpoint. */
export async function firstResults(config: RunConfig): Promise<string> {
  return (
    config.from?.resumed?.results ?? (await jsonDigest(essentialConfig(config)))
  );
}

/** Both digests before the first step. */
export async function firstLink(config: RunConfig): Promise<Link> {
  const results = await firstResults(config);
  return { results, chain: await jsonDigest([results, config.shards]) };
}

/** A string that is equal for equal results: loss sum, counts and gradient digests. */
export function says({ lossSum, tokens, bytes, digests }: Outcome): string {
  return JSON.stringify([lossSum, tokens, bytes, digests]);
}

/** A string that is equal for equal losses. Ignores gradient digests, which depend on how the run is sharded. */
export function saysOfSum(sum: LossSum): string {
  return says({ ...sum, digests: [] });
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

export function nextResults(
  before: string,
  microbatches: readonly LossSum[],
  { step, clipCoefficient, learningRates }: Update,
  gradNorm: number,
): Promise<string> {
  const { matrix, embedding, vector } = learningRates;
  return jsonDigest([
    before,
    step,
    microbatches.map(({ lossSum, tokens, bytes }) => [lossSum, tokens, bytes]),
    gradNorm,
    clipCoefficient,
    [matrix, embedding, vector],
  ]);
}
