/**
 * A conversion of a file in the bucket to another, for files of any size. Alarms drive it: each takes a
 * stretch of the source, uploads whole parts of the result, and writes down where it stands, so a
 * restart goes on from there and ends in the same bytes. The result appears when it is whole.
 *
 * This object is the truth; the directory has the job's id, for lists. An alarm is always set: while the
 * job runs for its next stretch, then for the time at which it goes, and its result with it.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError } from "../api/errors.ts";
import type { JobRequest, JobStatus, JobSummary } from "../api/tensors.ts";
import { directoryStub } from "./directory.ts";
import type { PinnedFile } from "./file-source.ts";
import { end, newJob, type StoredJob, summaryOf } from "./job-record.ts";
import { JobStore } from "./job-store.ts";
import { endTurn, takeTurn, TURN_PAUSE_MS } from "./job-turns.ts";
import { JobWork } from "./job-work.ts";
import { jsonCalls, type JsonStub, jsonStub } from "./json-calls.ts";
import { Lock } from "./lock.ts";

/** From within an alarm, one for this very moment would be lost. */
const NEXT_MS = 1;
/** Failures in a row that are no refusals, after which a job fails; pauses between them double. */
const MAX_FAILURES = 6;
const FIRST_PAUSE_MS = 250;
/** Pauses between tries to clear away, which never end: they double up to an hour. */
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 60 * 60_000;

type JobBindings = { BUCKET: R2Bucket; DIRECTORY: DurableObjectNamespace };

export class Job extends DurableObject<JobBindings> {
  readonly #store = new JobStore(this.ctx.storage);
  readonly #lock = new Lock();
  readonly #calls = jsonCalls(this.ctx, jobMethods(this));
  readonly #work = new JobWork(this.env.BUCKET, this.#store, () => {
    takeTurn(this);
    return this.#store.removal !== null;
  });
  /** Alarms in a row that could not do their step. */
  #retries = 0;

  override fetch(request: Request): Promise<Response> {
    return this.#calls.fetch(request);
  }

  /** The job, if it has begun with this request. Errors: `job_differs` */
  find(request: JobRequest): JobStatus | null {
    const present = this.#present();
    if (!present) return null;
    if (JSON.stringify(present.request) === JSON.stringify(request))
      return this.status();
    throw new AppError(
      "job_differs",
      `Expected the request with which job "${present.job}" began, got another`,
    );
  }

  /** Begin, or find it begun. Errors: `job_differs`, `file_exists`, `unavailable` */
  begin(
    id: string,
    request: JobRequest,
    file: PinnedFile,
    result: string,
  ): Promise<{ created: boolean; status: JobStatus }> {
    return this.#lock.run(async () => {
      await this.#clearFirst(id);
      const present = this.find(request);
      if (present) return { created: false, status: present };
      await this.#work.checkFree(result);
      const job = newJob(id, request, file, result);
      this.#store.create();
      this.#store.save(job);
      this.#store.log(`begun: ${request.operation} of ${file.bytes} bytes`);
      // In one transaction with the job: whatever comes, an alarm goes on with it.
      await this.ctx.storage.setAlarm(Date.now());
      const status = this.status();
      await this.#enlist(job).catch((error: unknown) => console.warn(error));
      return { created: true, status };
    });
  }

  /** Errors: `job_not_found` */
  status(): JobStatus {
    const summary = this.summary();
    if (summary) return { ...summary, log: this.#store.lines() };
    throw new AppError(
      "job_not_found",
      "Expected the id of a job, got another",
    );
  }

  /** For lists; null when there is no such job. */
  summary(): JobSummary | null {
    const job = this.#present();
    return job ? summaryOf(job) : null;
  }

  /** Stop, if it runs, and forget the job; a result that is whole stays. Errors: `job_not_found` */
  async remove(): Promise<void> {
    this.status();
    this.#store.markRemoval("job");
    // In one transaction with the mark: what cannot be done now, an alarm does.
    await this.ctx.storage.setAlarm(Date.now() + FIRST_RETRY_MS);
    await this.#lock
      .run(() => this.#clear())
      .catch((error: unknown) => console.warn(error));
  }

  override async alarm(): Promise<void> {
    await this.#lock.run(async () => {
      let dueMs: number | null;
      try {
        dueMs = await this.#advance();
        this.#retries = 0;
      } catch (error) {
        console.warn(error);
        const pauseMs = FIRST_RETRY_MS * 2 ** this.#retries++;
        dueMs = Date.now() + Math.min(pauseMs, MAX_RETRY_MS);
      }
      if (dueMs !== null) await this.ctx.storage.setAlarm(dueMs);
    });
  }

  /** Take a step; returns when the next one is due. A step may be repeated: a crash makes it so. */
  async #advance(): Promise<number | null> {
    const job = this.#store.load();
    if (!job) return null;
    const isOver = job.expiresMs !== null && job.expiresMs <= Date.now();
    if (isOver && !this.#store.removal)
      this.#store.markRemoval("job and result");
    if (this.#store.removal) {
      await this.#clear();
      return null;
    }
    await this.#enlist(job);
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
      this.#fail(job, error);
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
  async #enlist(job: StoredJob): Promise<void> {
    if (job.isListed) return;
    const { job: id, createdMs } = job;
    await directoryStub(this.env).addJob({ job: id, createdMs });
    job.isListed = true;
    this.#store.save(job);
  }

  /** All of a job that is marked so goes; last what the steps before need to be repeated. */
  async #clear(): Promise<void> {
    const { removal } = this.#store;
    const job = this.#store.load();
    if (!job || !removal) return;
    await this.#work.abort(job);
    // A crash may have come between a result and the end that tells of it.
    if (removal === "job and result" || job.state !== "finished")
      await this.#work.removeResult(job);
    await directoryStub(this.env).removeJob(job.job);
    // The alarm with it.
    await this.ctx.storage.deleteAll();
  }

  /** The id may have been another job's, which is still being removed. Errors: `unavailable` */
  async #clearFirst(id: string): Promise<void> {
    try {
      await this.#clear();
    } catch (cause) {
      throw new AppError(
        "unavailable",
        `Expected the job that was "${id}" to be removed, which goes on; repeat the request`,
        { cause },
      );
    }
  }

  #present(): StoredJob | undefined {
    return this.#store.removal ? undefined : this.#store.load();
  }
}

export function jobStub(
  bindings: { JOB: DurableObjectNamespace },
  job: string,
): JsonStub<ReturnType<typeof jobMethods>> {
  return jsonStub(bindings.JOB, job);
}

function jobMethods(job: Job) {
  return {
    find: (request: JobRequest) => job.find(request),
    begin: (
      id: string,
      request: JobRequest,
      file: PinnedFile,
      result: string,
    ) => job.begin(id, request, file, result),
    status: () => job.status(),
    summary: () => job.summary(),
    remove: () => job.remove(),
  };
}
