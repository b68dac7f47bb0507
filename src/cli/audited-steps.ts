/** Which steps of a run are looked at, to find the first that is false. */
import type { Compared } from "./compared-runs.ts";
import { UsageError } from "./file-arguments.ts";
import type { RecomputedRun } from "./recomputed-steps.ts";
import type { FalseStep } from "./told-step.ts";

/** `first` is null where nothing false was found; `last` is the last step that was looked at. */
export type Audit = Compared & {
  /** Steps that were computed here. */
  computed: number;
};

/** One step, from the state of the last one before it that is kept: those between are computed on the way. */
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

/** Each step, from the first of which there is the state. */
export async function auditAll(run: RecomputedRun): Promise<Audit> {
  const { last, states } = run;
  checkTold(run);
  const [start = run.first] = states;
  const first = await run.firstFalse(start, last);
  return { last, first, computed: run.computed };
}

/**
 * Of a run that is false from some step on, that step, by halving: steps are computed of which the state is kept, and
 * then all between the last of them that is true and the first that is not. Before that, the first step whose digests
 * do not follow from what is told of it, for which nothing is computed.
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
  // Those below `low` are true, and that of `high` is not, or is behind the last.
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

/** Something is told of the run, and of this step. */
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
