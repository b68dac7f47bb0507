/**
 * A conversion of a file in the bucket to another, for files of any size. Alarms drive it: each takes a
 * stretch of the source, uploads whole parts of the result, and writes down where it stands, so a
 * restart goes on from there and ends in the same bytes. The result appears when it is whole.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError } from "../api/errors.ts";
import type { JobRequest, JobStatus } from "../api/tensors.ts";
import type { PinnedFile } from "./file-source.ts";
import { JobStore, type StoredJob } from "./job-store.ts";
import { endTurn, takeTurn, TURN_PAUSE_MS } from "./job-turns.ts";
import { JobWork } from "./job-work.ts";
import { jsonCalls, type JsonStub, jsonStub } from "./json-calls.ts";
import { Lock } from "./lock.ts";

/** From within an alarm, one for this very moment would be lost. */
const NEXT_MS = 1;
/** Failures in a row that are no refusals, after which a job fails; pauses between them double. */
const MAX_FAILURES = 6;
const FIRST_PAUSE_MS = 250;

type JobBindings = { BUCKET: R2Bucket };

export class Job extends DurableObject<JobBindings> {
  readonly #store = new JobStore(this.ctx.storage);
  readonly #lock = new Lock();
  readonly #calls = jsonCalls(this.ctx, jobMethods(this));
  readonly #work = new JobWork(this.env.BUCKET, this.#store, () => {
    takeTurn(this);
    return this.#isRemoved;
  });
  #isRemoved = false;

  override fetch(request: Request): Promise<Response> {
    return this.#calls.fetch(request);
  }

  /** The job, if it has begun with this request. Errors: `job_differs` */
  find(request: JobRequest): JobStatus | null {
    const present = this.#store.load();
    if (!present) return null;
    if (JSON.stringify(present.request) === JSON.stringify(request))
      return this.status();
    throw new AppError(
      "job_differs",
      `Expected the request with which job "${present.job}" began, got another`,
    );
  }

  /** Begin, or find it begun. Errors: `job_differs` */
  async begin(
    job: string,
    request: JobRequest,
    file: PinnedFile,
    result: string,
  ): Promise<{ created: boolean; status: JobStatus }> {
    const present = this.find(request);
    if (present) return { created: false, status: present };
    this.#store.create();
    this.#store.save({
      job,
      request,
      file,
      result,
      state: "running",
      uploadId: null,
      parts: [],
      isCompleting: false,
      failures: 0,
      inputBytes: 0,
      outputBytes: 0,
      totalOutputBytes: null,
      createdMs: Date.now(),
      endedMs: null,
      error: null,
    });
    this.#store.log(`begun: ${request.operation} of ${file.bytes} bytes`);
    await this.ctx.storage.setAlarm(Date.now());
    return { created: true, status: this.status() };
  }

  /** Errors: `job_not_found` */
  status(): JobStatus {
    const { request, file, result, ...job } = this.#job();
    return {
      job: job.job,
      state: job.state,
      source: request.source,
      result,
      operation: request.operation,
      inputBytes: job.inputBytes,
      totalInputBytes: file.bytes,
      outputBytes: job.outputBytes,
      totalOutputBytes: job.totalOutputBytes,
      createdMs: job.createdMs,
      endedMs: job.endedMs,
      error: job.error,
      log: this.#store.lines(),
    };
  }

  /** Stop, if it runs, and forget the job; a result that is whole stays. Errors: `job_not_found` */
  async remove(): Promise<void> {
    this.#job();
    this.#isRemoved = true;
    await this.#lock.run(async () => {
      const job = this.#store.load();
      if (job) await this.#work.abort(job);
      await this.ctx.storage.deleteAlarm();
      await this.ctx.storage.deleteAll();
      this.#isRemoved = false;
    });
  }

  override async alarm(): Promise<void> {
    await this.#lock.run(() => this.#advance());
  }

  async #advance(): Promise<void> {
    const job = this.#isRemoved ? undefined : this.#store.load();
    if (job?.state !== "running") return;
    if (!takeTurn(this)) {
      await this.ctx.storage.setAlarm(Date.now() + TURN_PAUSE_MS);
      return;
    }
    let pauseMs = NEXT_MS;
    try {
      if (await this.#work.stretch(job)) this.#end(job, "finished");
    } catch (error) {
      pauseMs = FIRST_PAUSE_MS * 2 ** job.failures;
      await this.#fail(job, error);
    }
    // Those who wait look again sooner than this one does.
    if (endTurn(this)) pauseMs = Math.max(pauseMs, 2 * TURN_PAUSE_MS);
    if (job.state === "running" && !this.#isRemoved)
      await this.ctx.storage.setAlarm(Date.now() + pauseMs);
  }

  /** A refusal ends the job; anything else may pass, a few times. */
  async #fail(job: StoredJob, error: unknown): Promise<void> {
    const isRefusal = error instanceof AppError;
    const text = error instanceof Error ? error.message : String(error);
    if (!isRefusal) console.error(error);
    if (!isRefusal && ++job.failures < MAX_FAILURES) {
      this.#store.save(job);
      this.#store.log(`interrupted: ${text}`);
      return;
    }
    await this.#work.abort(job);
    const code = isRefusal ? error.code : "unavailable";
    job.error = { code, detail: text };
    this.#end(job, "failed");
  }

  #end(job: StoredJob, state: "finished" | "failed"): void {
    job.state = state;
    job.endedMs = Date.now();
    job.uploadId = null;
    job.parts = [];
    this.#store.save(job);
    this.#store.forgetPosition();
    this.#store.log(job.error ? `failed: ${job.error.detail}` : "finished");
  }

  #job(): StoredJob {
    const job = this.#store.load();
    if (job && !this.#isRemoved) return job;
    throw new AppError(
      "job_not_found",
      "Expected the id of a job, got another",
    );
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
    remove: () => job.remove(),
  };
}
