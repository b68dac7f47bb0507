/** A trainer that joins a run from outside of the edge, and goes on through whatever may pass. */
import { AppError } from "../api/errors.ts";
import type { LeaseRequest } from "../api/lease.ts";
import type { TrainingService } from "./service.ts";
import { isFinalRefusal } from "./refusals.ts";
import { RunTrainer, type TrainingBounds, type Turn } from "./trainer.ts";

/** What a trainer needs of whatever it runs in. */
export type JoinHost = Required<
  Pick<TrainingBounds, "signal" | "onCompleted">
> & {
  /** Told of what it goes on after. */
  onTrouble(text: string): void;
  turn: Turn;
  /** Before another try, the longer the more have failed in a row. */
  pause(failures: number): Promise<void>;
  /** Tell the run that it goes: what it holds is open again. */
  leave(): Promise<void>;
};

/** Train until the run has ended, or the signal comes. Errors: what the run refuses for good */
export async function joinRun(
  service: TrainingService,
  identity: LeaseRequest,
  host: JoinHost,
): Promise<"ended" | "left"> {
  const { signal, onCompleted, turn } = host;
  const loop = new RunTrainer(service, identity, { turn });
  let failures = 0;
  const bounds: TrainingBounds = {
    signal,
    onCompleted(...completed) {
      failures = 0;
      onCompleted(...completed);
    },
  };
  while (!signal.aborted) {
    try {
      const outcome = await loop.train(bounds);
      if (outcome === "ended") return outcome;
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof AppError && isFinalRefusal(error)) {
        if (error.code === "run_ended") return "ended";
        throw error;
      }
      // An edge that is away for long comes back, or a person ends this.
      host.onTrouble(`${(error as Error).message}; goes on trying`);
      await host.pause(failures++);
    }
  }
  // What is not told is found out: the lease lapses.
  await host.leave().catch(() => {});
  return "left";
}
