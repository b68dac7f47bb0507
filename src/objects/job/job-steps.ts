/** The steps of a job's life, in their order. A crash may repeat any of them, which does no harm. */
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
import type { JobStore } from "./job-store.ts";
import { endTurn, takeTurn, TURN_PAUSE_MS } from "./job-turns.ts";
import { JobWork } from "./job-work.ts";
import { isFolderUrl, type PinnedSource, pinStored } from "./pinned-file.ts";
import { NotNow } from "./url-file.ts";
import { checkSourceUrl, type UrlBindings } from "./url-rules.ts";

/** However long a server asks to be left alone. */
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

  constructor(
    storage: DurableObjectStorage,
    store: JobStore,
    bindings: JobBindings,
  ) {
    this.#storage = storage;
    this.#store = store;
    this.#bindings = bindings;
    this.#work = new JobWork(bindings, store, () => {
      takeTurn(this);
      return store.removal !== null;
    });
  }

  /** What the request's job is to begin with. Errors: `file_not_found`, `file_exists`, `invalid_option` */
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
    // What a folder has of its files by then is no model.
    if (job.state === "failed") await this.#work.result.remove(job);
    return job.expiresMs;
  }

  async #convert(job: StoredJob): Promise<number> {
    if (!takeTurn(this)) return Date.now() + TURN_PAUSE_MS;
    let pauseMs = NEXT_MS;
    try {
      if (await this.#work.stretch(job)) this.#end(job, null);
    } catch (error) {
      pauseMs = pauseAfter(job.failures);
      if (error instanceof NotNow)
        pauseMs = Math.max(pauseMs, Math.min(error.afterMs, MAX_PAUSE_MS));
      if (!isCrowded(error)) this.#fail(job, error);
    }
    // Those who wait look again sooner than this one does.
    if (endTurn(this)) pauseMs = Math.max(pauseMs, 2 * TURN_PAUSE_MS);
    return Date.now() + pauseMs;
  }

  /** A refusal ends the job; anything else may pass, a few times. */
  #fail(job: StoredJob, error: unknown): void {
    const isRefusal = error instanceof AppError;
    const text = messageOf(error);
    // What servers elsewhere do is no error of this one.
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
      await this.#work.result.remove(job);
    await directoryStub(this.#bindings).removeJob(job.job);
    // The alarm with it.
    await this.#storage.deleteAll();
  }
}
