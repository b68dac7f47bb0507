/**
 * Converts a file or folder of any size from the bucket, or a URL, to another in the bucket. Driven by alarms: each
 * reads a stretch of the source, uploads whole parts of the result, and stores its position, so a restart continues
 * from there and ends in the same bytes. A file appears when it is complete; of a folder, the config appears last.
 *
 * This object is authoritative; the directory only has the job's id, for lists. An alarm is always set: for the next
 * stretch while the job runs, then for the time at which the job and its result are deleted.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError } from "../../api/errors.ts";
import type { JobRequest, JobStatus, JobSummary } from "../../api/tensors.ts";
import {
  type StoredJob,
  summaryOf,
  totalInputBytes,
  withoutToken,
} from "./job-record.ts";
import { NEXT_MS } from "../platform/alarm-pauses.ts";
import { type JobBindings, JobSteps } from "./job-steps.ts";
import { JobStore } from "./job-store.ts";
import { jsonCalls, type JsonStub, jsonStub } from "../platform/json-calls.ts";
import { Lock } from "../platform/lock.ts";

/** Pauses between attempts at removal, which never end: they double up to an hour. */
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 60 * 60_000;

export class Job extends DurableObject<JobBindings> {
  readonly #store = new JobStore(this.ctx.storage);
  readonly #lock = new Lock();
  readonly #calls = jsonCalls(this.ctx, jobMethods(this));
  readonly #steps = new JobSteps(this.ctx.storage, this.#store, this.env);
  /** Consecutive alarms that failed. */
  #retries = 0;
  #isAtWork = false;

  override fetch(request: Request): Promise<Response> {
    return this.#calls.fetch(request);
  }

  /** The job, if it was created with this request. Errors: `job_differs` */
  find(request: JobRequest): JobStatus | null {
    const present = this.#present();
    if (!present) return null;
    const { source } = withoutToken(request.source);
    const asked = JSON.stringify({ ...request, source });
    if (JSON.stringify(present.request) === asked) return this.status();
    throw new AppError(
      "job_differs",
      `Expected the request that created job "${present.job}", or another id, got another request`,
    );
  }

  /**
   * Creates the job, unless this request already has. Errors: `job_differs`, `unavailable`, those of
   * `JobSteps.prepare`
   */
  begin(
    id: string,
    request: JobRequest,
  ): Promise<{ created: boolean; status: JobStatus }> {
    return this.#lock.run(async () => {
      await this.#clearFirst(id);
      const present = this.find(request);
      if (present) return { created: false, status: present };
      const job = await this.#steps.prepare(id, request);
      this.#store.create();
      this.#store.save(job);
      this.#store.log(
        `begun: ${request.operation} of ${totalInputBytes(job) ?? "unknown"} bytes`,
      );
      // In the same transaction as the job, so that an alarm continues it after any crash.
      await this.ctx.storage.setAlarm(Date.now());
      const status = this.status();
      await this.#steps
        .enlist(job)
        .catch((error: unknown) => console.warn(error));
      return { created: true, status };
    });
  }

  /** Errors: `job_not_found` */
  status(): JobStatus {
    const job = this.#present();
    if (job) {
      const { leftOut = [], missing = [] } = job;
      return { ...summaryOf(job), leftOut, missing, log: this.#store.lines() };
    }
    throw new AppError(
      "job_not_found",
      `Expected the id of a job, got "${this.ctx.id.name}"`,
    );
  }

  /** For lists; null if there is no such job. */
  summary(): JobSummary | null {
    const job = this.#present();
    return job ? summaryOf(job) : null;
  }

  /** Stops and deletes the job; a complete result stays. Errors: `job_not_found` */
  async remove(): Promise<void> {
    this.status();
    this.#store.markRemoval("job");
    // In the same transaction as the mark: an alarm completes what fails now.
    await this.ctx.storage.setAlarm(Date.now() + FIRST_RETRY_MS);
    await this.#lock
      .run(() => this.#steps.clear())
      .catch((error: unknown) => console.warn(error));
  }

  override async alarm(): Promise<void> {
    await this.#lock.run(async () => {
      let dueMs: number | null;
      this.#isAtWork = true;
      try {
        dueMs = await this.#steps.next();
        this.#retries = 0;
      } catch (error) {
        console.warn(error);
        const pauseMs = FIRST_RETRY_MS * 2 ** this.#retries++;
        dueMs = Date.now() + Math.min(pauseMs, MAX_RETRY_MS);
      }
      // From here on, a call that finds no alarm sets one, since setting it here may fail.
      this.#isAtWork = false;
      if (dueMs !== null) await this.ctx.storage.setAlarm(dueMs);
    });
  }

  /** The platform drops an alarm after repeated crashes; a request for the job sets it again. */
  async revive(): Promise<void> {
    if (this.#isAtWork || !this.#store.load()) return;
    const alarm = await this.ctx.storage.getAlarm();
    if (alarm === null) await this.ctx.storage.setAlarm(Date.now() + NEXT_MS);
  }

  /** Waits until an earlier job with this id is removed. Errors: `unavailable` */
  async #clearFirst(id: string): Promise<void> {
    try {
      await this.#steps.clear();
    } catch (cause) {
      throw new AppError(
        "unavailable",
        `Expected no job "${id}", got one that is still being removed; repeat the request`,
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
    begin: (id: string, request: JobRequest) => job.begin(id, request),
    status: async () => {
      await job.revive();
      return job.status();
    },
    summary: async () => {
      await job.revive();
      return job.summary();
    },
    remove: () => job.remove(),
  };
}
