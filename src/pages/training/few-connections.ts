/**
 * A browser has six connections to a server, for all its tabs: those that wait leave some to the pages, and to what trainers
 * send.
 */
import type { TrainingService } from "../../training/service.ts";

/** Of a run's trainers in this browser, so many wait for a lease at a time; others wait for their turn to. */
export const WAITING_LINES = 3;

/** `service`, whose wait for a lease of `run` stands in one of the lines, until `signal`. */
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
