/**
 * A trainer outside the edge, in a process or a browser tab: joins a run and continues after any error that may pass.
 */
import { AppError } from "../api/errors.ts";
import type { LeaseRequest } from "../api/lease.ts";
import type { TrainingService } from "./service.ts";
import { isFinalRefusal } from "./refusals.ts";
import { RunTrainer, type TrainingBounds, type Turn } from "./trainer.ts";

/** What a trainer needs from its environment. */
export type JoinHost = Required<
  Pick<TrainingBounds, "signal" | "onCompleted">
> & {
  /** Called with each error after which the trainer continues. */
  onTrouble(text: string): void;
  turn: Turn;
  /** False if connections are few, so that no request should wait for the next step's parameters. */
  waitsAhead?: boolean;
  /** As `joinedBytes` has it. */
  memoryBytes: number;
  /** Waits before the next attempt, longer the more have failed in a row. */
  pause(failures: number): Promise<void>;
  /** Tells the run that this trainer leaves, so that its leases are free at once. */
  leave(): Promise<void>;
};

/** Trains until the run has ended or `signal` is aborted. Errors: refusals that no further attempt can change */
export async function joinRun(
  service: TrainingService,
  identity: LeaseRequest,
  host: JoinHost,
): Promise<"ended" | "left"> {
  const { signal, onCompleted, turn, waitsAhead, memoryBytes } = host;
  const loop = new RunTrainer(service, identity, {
    turn,
    waitsAhead,
    memoryBytes,
  });
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
      // An unreachable edge may come back at any time; only the user gives up.
      host.onTrouble(`${(error as Error).message}; goes on trying`);
      await host.pause(failures++);
    }
  }
  // If this fails, the leases lapse by themselves.
  await host.leave().catch(() => {});
  return "left";
}
