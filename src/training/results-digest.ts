/**
 * What a run's steps have come to, as one digest: each commit has a SHA-256 of the one before and of itself, so that
 * no step can be changed afterwards without all that follow. It is the same whoever trained and however many shards
 * there were: a run that is computed again has it again, up to the first step that was false.
 */
import type { RunConfig } from "../api/run-config.ts";
import { essentialConfig } from "./checkpoint.ts";
import type { Update } from "./optimizer.ts";
import type { LossSum } from "./step-end.ts";

/** Before the first step; of a run that is resumed, that of its checkpoint. */
export async function firstResults(config: RunConfig): Promise<string> {
  return (
    config.from?.resumed?.results ?? (await digestOf(essentialConfig(config)))
  );
}

export function nextResults(
  before: string,
  microbatches: readonly LossSum[],
  { step, clipCoefficient, learningRates }: Update,
  gradNorm: number,
): Promise<string> {
  const { matrix, embedding, vector } = learningRates;
  return digestOf([
    before,
    step,
    microbatches.map(({ lossSum, tokens, bytes }) => [lossSum, tokens, bytes]),
    gradNorm,
    clipCoefficient,
    [matrix, embedding, vector],
  ]);
}

/** SHA-256 of its JSON, in hexadecimal. */
export async function digestOf(value: unknown): Promise<string> {
  const text = new TextEncoder().encode(JSON.stringify(value));
  const digest = await crypto.subtle.digest("SHA-256", text);
  return Array.from(new Uint8Array(digest), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
