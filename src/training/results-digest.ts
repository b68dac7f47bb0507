/**
 * What a run's steps have come to, as two digests: each commit has a SHA-256 of the one before and of itself, so that
 * no step can be changed afterwards without all that follow. `results` is the same whoever trained and however many
 * shards there were: a run that is computed again has it again, up to the first step that was false. `chain` is of that
 * and of who told it: each shard's digests, and the authors.
 */
import { jsonDigest } from "../api/digest.ts";
import type { AgreedResult } from "../api/run-metrics.ts";
import type { RunConfig } from "../api/run-config.ts";
import { essentialConfig } from "./checkpoint.ts";
import type { Update } from "./optimizer.ts";
import type { LossSum } from "./step-end.ts";

export type Link = { results: string; chain: string };

/** What a microbatch came to, whoever told it. */
type Outcome = Omit<AgreedResult, "index" | "authors">;

/** Before the first step; of a run that is resumed, that of its checkpoint. */
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

/** Equal for equal results: their sums, and the digests of their gradients. */
export function says({ lossSum, tokens, bytes, digests }: Outcome): string {
  return JSON.stringify([lossSum, tokens, bytes, digests]);
}

/** Equal for equal sums: gradients that are cut otherwise have other digests. */
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
