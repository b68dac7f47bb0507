/** The earlier steps whose full state is kept: checkpoints can be made of them, and the run can be rewound to them. */
import { AppError } from "../../api/errors.ts";
import { newRunKeys } from "../platform/author.ts";
import { allOf } from "./commit.ts";
import { checkNotEnded } from "./present-step.ts";
import type { RunParts } from "./run-parts.ts";
import type { RunRecord } from "./run-store.ts";

type Parts = Pick<RunParts, "store" | "events" | "present" | "progress">;

/** These steps in order; the last is the present one. Called between two commits. */
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

/** Errors: `future_step`; `step_gone` if the step's state is not kept */
export async function checkStateStep(
  parts: Parts,
  asked: number,
): Promise<void> {
  checkReached(parts.present.record(), asked);
  const steps = await stateSteps(parts);
  if (steps.includes(asked)) return;
  throw new AppError(
    "step_gone",
    `Expected a step whose state is kept, one of ${steps.join(", ")}; got ${asked}`,
  );
}

/**
 * Rewinds to the last step up to `asked` whose state is kept. Results of that step and later ones are void, and so
 * are all lease keys. Repeating the request before the run has reached `asked` again changes nothing. Errors:
 * `wrong_state` if the run has ended; `future_step`; `step_gone` if no state so early is kept
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
    // A repeated request, whose response was lost: the run is there already.
    if (asked > record.step && events.latest("rewind")?.asked === asked) return;
    checkReached(record, asked);
    const steps = await stateSteps(parts);
    const step = steps.findLast((kept) => kept <= asked);
    if (step === undefined) {
      throw new AppError(
        "step_gone",
        `Expected a step from ${steps[0]} on, the first whose state is kept; got ${asked}`,
      );
    }
    // A crash before this leaves everything unchanged; after it, the next call informs the shards.
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
