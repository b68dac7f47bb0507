/** Chooses which steps of a run to recompute, to find the first false one. */
import type { Compared } from "./compared-runs.ts";
import { UsageError } from "./file-arguments.ts";
import type { RecomputedRun } from "./recomputed-steps.ts";
import type { FalseStep } from "./told-step.ts";

/** `first` is null if nothing false was found; `last` is the last step checked. */
export type Audit = Compared & {
  /** Number of steps recomputed here. */
  computed: number;
};

/** Checks one step, recomputing from the last kept state at or before it. */
export async function auditStep(
  run: RecomputedRun,
  step: number,
): Promise<Audit> {
  checkTold(run, step);
  const start = run.states.findLast((each) => each <= step);
  if (start === undefined)
    throw new UsageError(
      `Expected a step from ${run.states[0] ?? "none"} on, the first kept state, got ${step}`,
    );
  const first = await run.firstFalse(start, step);
  return { last: step, first, computed: run.computed };
}

/** Checks each step from the first kept state on. */
export async function auditAll(run: RecomputedRun): Promise<Audit> {
  const { last, states } = run;
  checkTold(run);
  const [start = run.first] = states;
  const first = await run.firstFalse(start, last);
  return { last, first, computed: run.computed };
}

/**
 * Finds the first false step by bisection: recomputes steps with a kept state, then all between the last true and the
 * first false of them. Also finds the first step whose digests do not follow from its record, without recomputing.
 */
export async function probe(run: RecomputedRun): Promise<Audit> {
  checkTold(run);
  const changed = await run.firstUnlinked();
  const lied = await halve(run);
  const first =
    lied && (!changed || lied.step <= changed.step) ? lied : changed;
  return { last: run.last, first, computed: run.computed };
}

async function halve(run: RecomputedRun): Promise<FalseStep | null> {
  const { states, last } = run;
  const falseAt = (index: number) =>
    run.firstFalse(states[index]!, states[index]!);
  // Invariant: states below `low` are true; that at `high` is false or past the end.
  let [low, high] = [0, states.length - 1];
  let found = await falseAt(high);
  if (!found) low = ++high;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const own = await falseAt(middle);
    if (own) [high, found] = [middle, own];
    else low = middle + 1;
  }
  const start = states[Math.max(0, high - 1)]!;
  const first = await run.firstFalse(start, states[high] ?? last);
  if (first || !found) return first;
  throw new Error(
    `Expected the kept state of step ${found.step} to follow from the steps from ${start} on, got another state: the fault is in a shard or its storage`,
  );
}

/** Errors: `UsageError` if the run or the step has no committed results */
export function checkTold({ first, last }: RecomputedRun, step = last): void {
  if (last < first)
    throw new UsageError(
      "Expected a run with a committed step, got one without",
    );
  if (step > last)
    throw new UsageError(
      `Expected a step up to ${last}, the last committed one, got ${step}`,
    );
}
