/** What is written down of a job, and what callers see of it. */
import type { JobRequest, JobState, JobSummary } from "../../api/tensors.ts";
import type { PinnedFile } from "./file-source.ts";

const HOUR_MS = 60 * 60_000;
/** How long a job that has ended stays, its result with it. */
export const RETENTION_MS = {
  least: 1000,
  most: 90 * 24 * HOUR_MS,
  default: 7 * 24 * HOUR_MS,
};

export type StoredJob = {
  job: string;
  request: JobRequest;
  file: PinnedFile;
  result: string;
  state: JobState;
  /** The directory has it. */
  isListed: boolean;
  /** The upload that is under way, or that is to be taken back. */
  uploadId: string | null;
  parts: R2UploadedPart[];
  /** In a row, for reasons that may pass. */
  failures: number;
  /** All parts are uploaded, and are being put together. */
  isCompleting: boolean;
  inputBytes: number;
  outputBytes: number;
  totalOutputBytes: number | null;
  createdMs: number;
  endedMs: number | null;
  /** Null while it runs. */
  expiresMs: number | null;
  error: { code: string; detail: string } | null;
};

export function newJob(
  job: string,
  request: JobRequest,
  file: PinnedFile,
  result: string,
): StoredJob {
  return {
    job,
    request,
    file,
    result,
    state: "running",
    isListed: false,
    uploadId: null,
    parts: [],
    failures: 0,
    isCompleting: false,
    inputBytes: 0,
    outputBytes: 0,
    totalOutputBytes: null,
    createdMs: Date.now(),
    endedMs: null,
    expiresMs: null,
    error: null,
  };
}

/** Its end, and with it the time at which it goes. */
export function end(
  job: StoredJob,
  error: { code: string; detail: string } | null,
): void {
  const { retentionMs = RETENTION_MS.default } = job.request;
  job.state = error ? "failed" : "finished";
  job.error = error;
  job.endedMs = Date.now();
  job.expiresMs = job.endedMs + retentionMs;
  job.parts = [];
  // What a failure leaves of an upload is to be taken back.
  if (!error) job.uploadId = null;
}

export function summaryOf(job: StoredJob): JobSummary {
  const { request, file } = job;
  return {
    job: job.job,
    state: job.state,
    source: request.source,
    result: job.result,
    operation: request.operation,
    inputBytes: job.inputBytes,
    totalInputBytes: file.bytes,
    outputBytes: job.outputBytes,
    totalOutputBytes: job.totalOutputBytes,
    createdMs: job.createdMs,
    endedMs: job.endedMs,
    expiresMs: job.expiresMs,
    error: job.error,
  };
}
