/**
 * Shares parameters among the trainers of an isolate: each frame is pulled once, by the first that needs it, and kept
 * until the last one releases it.
 */
import type { RunStatus } from "../api/run-status.ts";
import { free } from "../memory/free.ts";
import { NOTHING_TRAVELLED } from "../training/link-pace.ts";
import type { ParameterFrame } from "../training/pulled-parameters.ts";
import type { TrainingService } from "../training/service.ts";

/** Objects must not await each other's promises, so they poll at this interval. */
const LOOK_MS = 2;
/** After this time the puller is assumed to be gone. */
const PATIENCE_MS = 5_000;

type Shared = {
  step: number;
  rewinds: number;
  sinceMs: number;
  /** undefined while it is being pulled. */
  frame: ParameterFrame | undefined;
  users: number;
};

export class IsolatePulls {
  /** The latest frame by run and shard. */
  readonly #latest = new Map<string, Shared>();

  /** A trainer's service, with shared pulls. */
  sharedBy(service: TrainingService): TrainingService {
    let run: string | undefined;
    return {
      status: async () => {
        const status = await service.status();
        run = creationOf(status);
        return status;
      },
      lease: (request) => service.lease(request),
      complete: (lease, completion) => service.complete(lease, completion),
      push: (shard, lease, frame) => service.push(shard, lease, frame),
      tokens: (dataset, start, length) =>
        service.tokens(dataset, start, length),
      tokenizer: (dataset) => service.tokenizer(dataset),
      pull: (shard, step, { rewinds = 0, ...others } = {}) => {
        const pull = () => service.pull(shard, step, { rewinds, ...others });
        return run === undefined
          ? pull()
          : this.#frame(`${run} ${shard}`, step, rewinds, pull);
      },
    };
  }

  async #frame(
    key: string,
    step: number,
    rewinds: number,
    pull: () => Promise<ParameterFrame>,
  ): Promise<ParameterFrame> {
    for (;;) {
      const there = this.#latest.get(key);
      if (there?.step !== step || there.rewinds !== rewinds) break;
      if (there.frame) return this.#use(key, there, NOTHING_TRAVELLED);
      if (Date.now() - there.sinceMs >= PATIENCE_MS) break;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    const latest = this.#latest.get(key);
    // An outdated lease does not replace the others' frame.
    if (latest?.rewinds === rewinds && step < latest.step) return pull();
    const own: Shared = {
      step,
      rewinds,
      sinceMs: Date.now(),
      frame: undefined,
      users: 0,
    };
    this.#latest.set(key, own);
    try {
      own.frame = await pull();
    } catch (error) {
      this.#forget(key, own);
      throw error;
    }
    return this.#use(key, own, own.frame.travelled);
  }

  #use(
    key: string,
    shared: Shared,
    travelled: ParameterFrame["travelled"],
  ): ParameterFrame {
    const { dtype, start, length, payload } = shared.frame!;
    let isUsed = true;
    shared.users++;
    return {
      dtype,
      start,
      length,
      payload,
      ...(travelled && { travelled }),
      release: () => {
        if (isUsed) shared.users--;
        isUsed = false;
        if (shared.users > 0) return;
        this.#forget(key, shared);
        free(payload);
      },
    };
  }

  #forget(key: string, shared: Shared): void {
    if (this.#latest.get(key) === shared) this.#latest.delete(key);
  }
}

/** Identifies a run, as opposed to a later one with the same id. */
function creationOf({ run, createdMs }: RunStatus): string {
  return `${run} ${createdMs}`;
}

/** Shared by all trainers of this isolate. */
export const isolatePulls = new IsolatePulls();
