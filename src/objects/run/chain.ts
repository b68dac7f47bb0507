/**
 * What binds a run's steps: each commit has a SHA-256 of the one before and of itself, so that no step can be
 * changed afterwards without all that follow. There are two. `results` is of what the step came to, and is the same
 * whoever trained and however many shards there were: a run that is computed again has it again, up to the
 * first step that was false. `chain` is of that and of who told it: each shard's digests, and the authors.
 */
import type { AgreedResult, RunConfig } from "../../api/types.ts";
import { essentialConfig } from "../../training/checkpoint.ts";
import type { Update } from "../../training/optimizer.ts";
import { says, type StoredBallot } from "./ballot-store.ts";

export type Link = { results: string; chain: string };

/** Before the first step. */
export async function firstLink(config: RunConfig): Promise<Link> {
  const results = await digestOf(essentialConfig(config));
  return { results, chain: await digestOf([results, config.shards]) };
}

export async function nextLink(
  before: Link,
  microbatches: readonly AgreedResult[],
  { step, clipCoefficient, learningRates }: Update,
  gradNorm: number,
): Promise<Link> {
  const { matrix, embedding, vector } = learningRates;
  const results = await digestOf([
    before.results,
    step,
    microbatches.map(({ lossSum, tokens, bytes }) => [lossSum, tokens, bytes]),
    gradNorm,
    clipCoefficient,
    [matrix, embedding, vector],
  ]);
  const told = microbatches.map(({ digests, authors }) => [digests, authors]);
  return { results, chain: await digestOf([before.chain, results, told]) };
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

async function digestOf(value: unknown): Promise<string> {
  const text = new TextEncoder().encode(JSON.stringify(value));
  const digest = await crypto.subtle.digest("SHA-256", text);
  return Array.from(new Uint8Array(digest), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
