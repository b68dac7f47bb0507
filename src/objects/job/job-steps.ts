/** The steps of a job, in order. A crash may repeat any of them, so each is idempotent. */
import { AppError, messageOf } from "../../api/errors.ts";
import type { JobRequest } from "../../api/tensors.ts";
import { isTaken } from "../../checkpoints/folder-plan.ts";
import {
  checkFileRequest,
  checkFolderRequest,
  checkOptionsAlone,
} from "../../checkpoints/folder-request.ts";
import {
  isCrowded,
  MAX_FAILURES,
  NEXT_MS,
  pauseAfter,
} from "../platform/alarm-pauses.ts";
import { directoryStub } from "../directory/directory.ts";
import {
  end,
  makesFolder,
  newJob,
  type StoredJob,
  withoutToken,
} from "./job-record.ts";
import { LongWait } from "../platform/long-wait.ts";
import type { JobStore } from "./job-store.ts";
import { endTurn, takeTurn, TURN_PAUSE_MS } from "./job-turns.ts";
import { JobWork } from "./job-work.ts";
import { isFolderUrl, type PinnedSource, pinStored } from "./pinned-file.ts";
import { NotNow } from "./url-file.ts";
import { checkSourceUrl, type UrlBindings } from "./url-rules.ts";

/** The longest pause, whatever a server's Retry-After says. */
const MAX_PAUSE_MS = 60 * 60_000;

export type JobBindings = UrlBindings & {
  BUCKET: R2Bucket;
  DIRECTORY: DurableObjectNamespace;
};

export class JobSteps {
  readonly #storage: DurableObjectStorage;
  readonly #store: JobStore;
  readonly #bindings: JobBindings;
  readonly #work: JobWork;
  readonly #turn: LongWait;
  readonly #memory: LongWait;

  constructor(
    storage: DurableObjectStorage,
    store: JobStore,
    bindings: JobBindings,
  ) {
    this.#storage = storage;
    this.#store = store;
    this.#bindings = bindings;
    const tell = (text: string) => store.log(text);
    this.#turn = new LongWait("the turn of another job", tell);
    this.#memory = new LongWait("memory", tell);
    this.#work = new JobWork(bindings, store, () => {
      takeTurn(this);
      return store.removal !== null;
    });
  }

  /** A new job for the request. Errors: `file_not_found`, `file_exists`, `invalid_option` */
  async prepare(id: string, request: JobRequest): Promise<StoredJob> {
    checkOptionsAlone(request);
    const { source, token } = withoutToken(request.source);
    const pinned = await this.#pin(source);
    const { files } = pinned;
    if (pinned.isFolder) {
      checkFolderRequest(request);
      pinned.files = files && files.filter(({ name }) => isTaken(name));
    } else {
      checkFileRequest(request);
    }
    const job = newJob(id, { ...request, source }, pinned, token);
    if (files && makesFolder(job))
      job.leftOut = [
        ...files.map(({ name }) => name).filter((name) => !isTaken(name)),
        ...(pinned.folders ?? []).map((name) => `${name}/`),
      ];
    await this.#work.result.checkFree(job);
    return job;
  }

  async #pin(source: JobRequest["source"]): Promise<PinnedSource> {
    if (typeof source === "string")
      return pinStored(this.#bindings.BUCKET, source);
    const { href } = checkSourceUrl(source.url, this.#bindings);
    return { isFolder: isFolderUrl(href), files: null };
  }

  /** Runs the next step; returns when the one after is due, or null after the last. */
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
    // An incomplete folder is not a model.
    if (job.state === "failed") await this.#work.result.remove(job);
    return job.expiresMs;
  }

  async #convert(job: StoredJob): Promise<number> {
    if (!takeTurn(this)) {
      // Never given up: a turn that is not used ends by itself.
      this.#turn.missed();
      return Date.now() + TURN_PAUSE_MS;
    }
    this.#turn.over();
    let pauseMs = NEXT_MS;
    try {
      const isDone = await this.#work.stretch(job);
      this.#memory.over();
      if (isDone) this.#end(job, null);
    } catch (error) {
      pauseMs = pauseAfter(job.failures);
      if (error instanceof NotNow)
        pauseMs = Math.max(pauseMs, Math.min(error.afterMs, MAX_PAUSE_MS));
      const failed = isCrowded(error) ? this.#memory.missed() : error;
      if (failed) this.#fail(job, failed);
    }
    // Pause longer than the jobs that are waiting for a turn.
    if (endTurn(this)) pauseMs = Math.max(pauseMs, 2 * TURN_PAUSE_MS);
    return Date.now() + pauseMs;
  }

  /** An `AppError` ends the job; any other error is retried a few times. */
  #fail(job: StoredJob, error: unknown): void {
    const isRefusal = error instanceof AppError;
    const text = messageOf(error);
    // Errors of other servers are not logged as errors of this one.
    if (!isRefusal && !(error instanceof NotNow)) console.error(error);
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
    this.#store.save(job, null);
    this.#store.log(error ? `failed: ${error.detail}` : "finished");
  }

  /** Adds the job to the directory's list. */
  async enlist(job: StoredJob): Promise<void> {
    if (job.isListed) return;
    const { job: id, createdMs } = job;
    await directoryStub(this.#bindings).addJob({ job: id, createdMs });
    job.isListed = true;
    this.#store.save(job);
  }

  /** Deletes a job marked for removal; last, what repeating the earlier steps would need. */
  async clear(): Promise<void> {
    const { removal } = this.#store;
    const job = this.#store.load();
    if (!job || !removal) return;
    await this.#work.abort(job);
    // A crash may have come between completing a result and storing the end.
    if (removal === "job and result" || job.state !== "finished")
      await this.#work.result.remove(job);
    await directoryStub(this.#bindings).removeJob(job.job);
    // Deletes the alarm too.
    await this.#storage.deleteAll();
  }
}
