/**
 * Finds the first step at which two runs of the same config differ, by bisection: `results` of each commit covers all
 * earlier steps, so it differs from the first false step on.
 */
import type { StepRecord } from "../api/run-metrics.ts";
import type { RunStatus } from "../api/run-status.ts";
import type { RunClient } from "../client/run-client.ts";
import { saysOfSum } from "../training/results-digest.ts";
import { UsageError } from "./file-arguments.ts";
import { differing, type FalseStep } from "./told-step.ts";

/** `first` is null if they agree up to `last`. */
export type Compared = {
  /** The last step compared. */
  last: number;
  /** With the authors of its microbatches in the audited run. */
  first: FalseStep | null;
};

/** Errors: `UsageError` if the runs cannot be compared */
export async function compareRuns(
  audited: RunClient,
  trusted: RunClient,
  asked?: number,
): Promise<Compared> {
  const [one, other] = await Promise.all([audited.status(), trusted.status()]);
  const latest = Math.min(one.step, other.step) - 1;
  const start = Math.max(firstOf(one), firstOf(other));
  if (latest < start) {
    throw new UsageError(
      "Expected two runs with a committed step each, got one without",
    );
  }
  const last = asked ?? latest;
  if (last < start || last > latest) {
    throw new UsageError(
      `Expected a step from ${start} to ${latest}, which both runs have committed, got ${last}`,
    );
  }
  const both = async (step: number) => {
    const records = await Promise.all([audited.step(step), trusted.step(step)]);
    return { records, isSame: resultsOf(records[0]) === resultsOf(records[1]) };
  };
  const { records: first } = await both(start);
  if (first[0].commit!.before.results !== first[1].commit!.before.results) {
    throw new UsageError(
      "Expected two runs of the same config, got runs that differ before their first common step",
    );
  }
  if ((await both(last)).isSame) return { last, first: null };
  // Invariant: steps below `low` agree, `high` differs.
  let [low, high] = [start, last];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((await both(middle)).isSame) low = middle + 1;
    else high = middle;
  }
  const { records } = await both(high);
  const isCutAlike = one.config.shards === other.config.shards;
  return { last, first: { step: high, ...falsehood(...records, isCutAlike) } };
}

/** The difference of two records of a step whose `results` differ. */
function falsehood(
  audited: StepRecord,
  trusted: StepRecord,
  isCutAlike: boolean,
): Omit<FalseStep, "step"> {
  const say = isCutAlike ? undefined : saysOfSum;
  const microbatches = differing(audited, trusted, say);
  if (microbatches.length > 0) return { microbatches };
  return {
    microbatches,
    ...(isCutAlike ? { commit: true } : { gradient: true }),
  };
}

function resultsOf({ step, commit }: StepRecord): string {
  if (commit?.results) return commit.results;
  throw new UsageError(
    `Expected steps with digests, got step ${step}, which an earlier release committed without`,
  );
}

/** The first step; of a resumed run, that of its checkpoint. */
function firstOf({ config }: RunStatus): number {
  return config.from?.resumed?.step ?? 0;
}
