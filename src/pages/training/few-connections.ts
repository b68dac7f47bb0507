/** A browser allows six connections to a server for all tabs: waiting trainers must leave some for pages and pushes. */
import type { TrainingService } from "../../training/service.ts";

/** How many of a run's trainers in this browser wait for a lease at a time; the others queue. */
export const WAITING_LINES = 3;

/** `service`, whose requests for a lease of `run` hold a lock of the given line, until `signal`. */
export function waitingInLine(
  service: TrainingService,
  run: string,
  line: number,
  signal: AbortSignal,
): TrainingService {
  return {
    status: () => service.status(),
    lease: (request) =>
      navigator.locks.request(
        `mxfp4-edge: leases of ${run}, line ${line}`,
        { signal },
        () => service.lease(request),
      ),
    complete: (...told) => service.complete(...told),
    pull: (...asked) => service.pull(...asked),
    push: (...sent) => service.push(...sent),
    tokens: (...asked) => service.tokens(...asked),
    tokenizer: (dataset) => service.tokenizer(dataset),
  };
}
