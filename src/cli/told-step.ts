/** Compares a step's record with its recomputed results, and with the previous step. */
import type { StepMetrics, StepRecord } from "../api/run-metrics.ts";
import type { ReplayedStep } from "../training/replayed-run.ts";
import { type Link, nextLink, says } from "../training/results-digest.ts";
import { meanLoss } from "../training/step-end.ts";

/** What is false in a step's record. */
export type FalseStep = {
  step: number;
  /** With all authors that reported it. */
  microbatches: { index: number; authors: string[] }[];
  /** Norm, clip or rates of the commit do not follow from its microbatches; no trainer's false result causes this. */
  commit?: true;
  /** The loss of its evaluation. */
  evaluation?: true;
  /**
   * A gradient or the commit differs: reported if the other run has another number of shards, whose gradient digests
   * are not comparable.
   */
  gradient?: true;
  /** Its digests and metrics do not follow from its record, or from the previous step. */
  chain?: true;
};

/** The microbatches whose record differs from `computed`, which is in order; compared by `say`. */
export function differing(
  { microbatches }: Pick<StepRecord, "microbatches">,
  computed: Pick<ReplayedStep, "microbatches">,
  say: typeof says = says,
): FalseStep["microbatches"] {
  return computed.microbatches.flatMap((own, index) => {
    const told = microbatches.find((each) => each.index === index);
    if (told && say(told) === say(own)) return [];
    return [{ index, authors: told?.authors ?? [] }];
  });
}

/** Whether the commit's record is as computed. */
export function isCommitOf(
  { commit }: StepRecord,
  { gradNorm, update }: ReplayedStep,
): boolean {
  const { clipCoefficient, learningRates } = update;
  return (
    commit?.gradNorm === gradNorm &&
    commit.clipCoefficient === clipCoefficient &&
    commit.learningRates.matrix === learningRates.matrix &&
    commit.learningRates.embedding === learningRates.embedding &&
    commit.learningRates.vector === learningRates.vector
  );
}

/**
 * Whether a step's digests and metrics follow from its record and the previous step, without recomputing. Steps
 * committed by earlier releases have no digests.
 */
export async function isLinked(
  { step, microbatches, commit }: StepRecord,
  metrics: StepMetrics | undefined,
  before: Link & { tokens: number },
): Promise<boolean> {
  if (!commit || !metrics) return false;
  if (hasNoDigests(commit)) return hasNoDigests(metrics);
  const { gradNorm, clipCoefficient, learningRates } = commit;
  const update = { step, clipCoefficient, learningRates };
  const link = await nextLink(before, microbatches, update, gradNorm);
  const { perToken, perByte } = meanLoss(microbatches);
  const tokens = microbatches.reduce((sum, each) => sum + each.tokens, 0);
  return (
    isSameLink(commit.before, before) &&
    isSameLink(commit, link) &&
    isSameLink(metrics, link) &&
    metrics.gradNorm === gradNorm &&
    metrics.learningRate === learningRates.matrix &&
    metrics.trainLoss === perToken &&
    metrics.trainNatsPerByte === perByte &&
    metrics.tokens === before.tokens + tokens
  );
}

export function hasNoDigests(told: {
  results: string | null;
  chain: string | null;
}): boolean {
  return told.results === null && told.chain === null;
}

function isSameLink(
  one: { results: string | null; chain: string | null },
  other: Link,
): boolean {
  return one.results === other.results && one.chain === other.chain;
}
