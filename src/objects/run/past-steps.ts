/** The steps of a run's past of which all of the state is there: checkpoints are made of them, and the run goes back to them. */
import { AppError } from "../../api/errors.ts";
import { newRunKeys } from "../platform/author.ts";
import { allOf } from "./commit.ts";
import { checkNotEnded } from "./present-step.ts";
import type { RunParts } from "./run-parts.ts";
import type { RunRecord } from "./run-store.ts";

type Parts = Pick<RunParts, "store" | "events" | "present" | "progress">;

/** In order; the last is the present one. Called between two commits. */
export async function stateSteps({
  present,
  progress,
}: Parts): Promise<number[]> {
  const record = present.record();
  const kept = await allOf(progress.shards(record), (shard) => shard.states());
  const [first, ...others] = kept.map((steps) => new Set(steps));
  const shared = others.reduce((a, b) => a.intersection(b), first!);
  return [...shared, record.step];
}

/** Errors: `future_step`; `step_gone`, its state is not kept */
export async function checkStateStep(
  parts: Parts,
  asked: number,
): Promise<void> {
  checkReached(parts.present.record(), asked);
  const steps = await stateSteps(parts);
  if (steps.includes(asked)) return;
  throw new AppError(
    "step_gone",
    `Expected a step of which the state is kept, one of ${steps.join(", ")}; got ${asked}`,
  );
}

/**
 * Go back to the last step up to `asked` of which the state is kept: what was told of it and of those after it is
 * void, and so are the keys of all leases. Asking again before the run is there changes nothing. Errors: `wrong_state`, the run has ended; `future_step`; `step_gone`, none so
 * early is kept
 */
export async function rewind(parts: Parts, asked: number): Promise<void> {
  const { store, events, present, progress } = parts;
  await progress.exclusive(async () => {
    const record = present.record();
    const { state, keys, rewinds } = record;
    checkNotEnded(
      state,
      ": begin another with `resume`, from its checkpoint of `state=full` at that step",
    );
    // Asked for again, since the answer was lost: it is there already.
    if (asked > record.step && events.latest("rewind")?.asked === asked) return;
    checkReached(record, asked);
    const steps = await stateSteps(parts);
    const step = steps.findLast((kept) => kept <= asked);
    if (step === undefined) {
      throw new AppError(
        "step_gone",
        `Expected a step from ${steps[0]} on, the first of which the state is kept; got ${asked}`,
      );
    }
    // One that crashes before this has changed nothing. After it, the shards are told, whoever comes next.
    present.transaction(() => {
      const { secret } = newRunKeys();
      store.update({
        step,
        keys: { ...keys, secret },
        initialized: false,
        rewinds: rewinds + 1,
        rewindTo: step,
      });
      store.history.takeBack(step);
      store.ballots.takeBack(step);
      events.takeBack(step);
      events.append({ type: "rewind", step, asked });
    });
    present.forget();
  });
  await progress.advance();
}

/** Errors: `future_step` */
export function checkReached({ step }: RunRecord, asked: number): void {
  if (asked <= step) return;
  throw new AppError(
    "future_step",
    `Expected a step up to ${step}, where the run is, got ${asked}`,
  );
}
