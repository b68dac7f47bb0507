/** Chooses which steps of a run to recompute, to find the first false one. */
import { AppError } from "../api/errors.ts";
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
  const states = run.states.filter((each) => each <= step);
  if (states.length === 0)
    throw new UsageError(
      `Expected a step from ${run.states[0] ?? "none"} on, the first kept state, got ${step}`,
    );
  const { found: first } = await fromKept(states, states.length - 1, (start) =>
    run.firstFalse(start, step),
  );
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
  const states = [...run.states];
  const falseAt = (index: number) =>
    fromKept(states, index, (step) => run.firstFalse(step, step));
  // Invariant: states below `low` are true; that at `high` is false or past the end.
  let low = 0;
  let { index: high, found } = await falseAt(states.length - 1);
  if (!found) low = ++high;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const { index, found: own } = await falseAt(middle);
    if (own) [high, found] = [index, own];
    else {
      high -= middle - index;
      low = index + 1;
    }
  }
  const end = states[high] ?? run.last;
  const { index, found: first } = await fromKept(
    states,
    Math.max(0, high - 1),
    (start) => run.firstFalse(start, end),
  );
  if (first || !found) return first;
  throw new Error(
    `Expected the kept state of step ${found.step} to follow from the steps from ${states[index]} on, got another state: the fault is in a shard or its storage`,
  );
}

/**
 * What `find` finds from the state at `index`, or from the last one before it that the edge still has: as a run goes
 * on, fewer of its past states are kept. Those that are gone are taken out of `states`. Errors: those of `find`
 */
async function fromKept(
  states: number[],
  index: number,
  find: (start: number) => Promise<FalseStep | null>,
): Promise<{ index: number; found: FalseStep | null }> {
  try {
    return { index, found: await find(states[index]!) };
  } catch (error) {
    const isGone = error instanceof AppError && error.code === "step_gone";
    if (!isGone || index === 0) throw error;
    states.splice(index, 1);
    return fromKept(states, index - 1, find);
  }
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
