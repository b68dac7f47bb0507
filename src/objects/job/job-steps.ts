/** The steps of a job's life, in their order. A crash may repeat any of them, which does no harm. */
import { AppError } from "../../api/errors.ts";
import { directoryStub } from "../directory/directory.ts";
import { end, type StoredJob } from "./job-record.ts";
import type { JobStore } from "./job-store.ts";
import { endTurn, takeTurn, TURN_PAUSE_MS } from "./job-turns.ts";
import { JobWork } from "./job-work.ts";

/** From within an alarm, one for this very moment would be lost. */
export const NEXT_MS = 1;
/** Failures in a row that are no refusals, after which a job fails; pauses between them double. */
const MAX_FAILURES = 6;
const FIRST_PAUSE_MS = 250;

export type JobBindings = {
  BUCKET: R2Bucket;
  DIRECTORY: DurableObjectNamespace;
};

export class JobSteps {
  readonly #storage: DurableObjectStorage;
  readonly #store: JobStore;
  readonly #bindings: JobBindings;
  readonly #work: JobWork;

  constructor(
    storage: DurableObjectStorage,
    store: JobStore,
    bindings: JobBindings,
  ) {
    this.#storage = storage;
    this.#store = store;
    this.#bindings = bindings;
    this.#work = new JobWork(bindings.BUCKET, store, () => {
      takeTurn(this);
      return store.removal !== null;
    });
  }

  /** Refuse a name that has a file. Errors: `file_exists` */
  checkFree(result: string): Promise<void> {
    return this.#work.checkFree(result);
  }

  /** Take the step that is due; returns when the next one is, or null behind the last. */
  async next(): Promise<number | null> {
    const job = this.#store.load();
    if (!job) return null;
    const isOver = job.expiresMs !== null && job.expiresMs <= Date.now();
    if (isOver && !this.#store.removal)
      this.#store.markRemoval("job and result");
    if (this.#store.removal) {
      await this.clear();
      return null;
    }
    await this.enlist(job);
    if (job.state === "running") return this.#convert(job);
    await this.#work.abort(job);
    return job.expiresMs;
  }

  async #convert(job: StoredJob): Promise<number> {
    if (!takeTurn(this)) return Date.now() + TURN_PAUSE_MS;
    let pauseMs = NEXT_MS;
    try {
      if (await this.#work.stretch(job)) this.#end(job, null);
    } catch (error) {
      pauseMs = FIRST_PAUSE_MS * 2 ** job.failures;
      // Others have the memory; that is no failure of the job's.
      const isCrowded =
        error instanceof AppError && error.code === "unavailable";
      if (!isCrowded) this.#fail(job, error);
    }
    // Those who wait look again sooner than this one does.
    if (endTurn(this)) pauseMs = Math.max(pauseMs, 2 * TURN_PAUSE_MS);
    return Date.now() + pauseMs;
  }

  /** A refusal ends the job; anything else may pass, a few times. */
  #fail(job: StoredJob, error: unknown): void {
    const isRefusal = error instanceof AppError;
    const text = error instanceof Error ? error.message : String(error);
    if (!isRefusal) console.error(error);
    if (!isRefusal && ++job.failures < MAX_FAILURES) {
      this.#store.save(job);
      this.#store.log(`interrupted: ${text}`);
      return;
    }
    const code = isRefusal ? error.code : "unavailable";
    this.#end(job, { code, detail: text });
  }

  #end(job: StoredJob, error: StoredJob["error"]): void {
    end(job, error);
    this.#store.save(job);
    this.#store.forgetPosition();
    this.#store.log(error ? `failed: ${error.detail}` : "finished");
  }

  /** The directory's lists have the job from here on. */
  async enlist(job: StoredJob): Promise<void> {
    if (job.isListed) return;
    const { job: id, createdMs } = job;
    await directoryStub(this.#bindings).addJob({ job: id, createdMs });
    job.isListed = true;
    this.#store.save(job);
  }

  /** All of a job that is marked so goes; last what the steps before need to be repeated. */
  async clear(): Promise<void> {
    const { removal } = this.#store;
    const job = this.#store.load();
    if (!job || !removal) return;
    await this.#work.abort(job);
    // A crash may have come between a result and the end that tells of it.
    if (removal === "job and result" || job.state !== "finished")
      await this.#work.removeResult(job);
    await directoryStub(this.#bindings).removeJob(job.job);
    // The alarm with it.
    await this.#storage.deleteAll();
  }
}
