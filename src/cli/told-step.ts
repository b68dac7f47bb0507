/** A step as a run tells it, held against what it comes to, and against the step before. */
import type { StepMetrics, StepRecord } from "../api/run-metrics.ts";
import type { ReplayedStep } from "../training/replayed-run.ts";
import { type Link, nextLink, says } from "../training/results-digest.ts";
import { meanLoss } from "../training/step-end.ts";

/** What of a step is not what it comes to. */
export type FalseStep = {
  step: number;
  /** With all who told so. */
  microbatches: { index: number; authors: string[] }[];
  /** Norm, clip or rates of the commit do not follow from its microbatches: so does no trainer's lie. */
  commit?: true;
  /** The loss of its evaluation. */
  evaluation?: true;
  /** A gradient, or the commit: it is compared with a run of other shards, whose gradients are cut otherwise. */
  gradient?: true;
  /** Its digests and metrics do not follow from what is told of it, and by whom, or not from the step before. */
  chain?: true;
};

/** Those of which something else is told than `computed`, which is in order; equal by what `say` makes of it. */
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

/** What is told of a commit is what was computed. */
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
 * A step's digests, and its line of the metrics, follow from what is told of it and from the step before. Nothing is
 * computed. Of a step that an earlier release committed there are no digests.
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
