/** What is written down of a job, and what callers see of it. */
import type { JobRequest, JobState, JobSummary } from "../../api/tensors.ts";
import type { PinnedFile, PinnedSource } from "./pinned-file.ts";

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
  isFolder: boolean;
  /** What it reads. */
  files: PinnedFile[];
  result: string;
  state: JobState;
  /** The directory has it. */
  isListed: boolean;
  /** The file that is under way, among those that it writes. */
  output: number;
  /** Its upload, or one that is to be taken back, and the file's name. */
  uploadId: string | null;
  uploadName: string | null;
  parts: R2UploadedPart[];
  /** In a row, for reasons that may pass. */
  failures: number;
  /** All parts are uploaded, and are being put together. */
  isCompleting: boolean;
  /** The file is whole, and so many of its tensors have their digests; null before that. */
  digests: number | null;
  /** Of the files before it, read and written. */
  earlier: { inputBytes: number; outputBytes: number };
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
  { isFolder, files }: PinnedSource,
): StoredJob {
  return {
    job,
    request,
    isFolder,
    files,
    result: request.result ?? `${job.slice(0, 50)}${ending(request, isFolder)}`,
    state: "running",
    isListed: false,
    output: 0,
    uploadId: null,
    uploadName: null,
    parts: [],
    failures: 0,
    isCompleting: false,
    digests: null,
    earlier: { inputBytes: 0, outputBytes: 0 },
    inputBytes: 0,
    outputBytes: 0,
    totalOutputBytes: null,
    createdMs: Date.now(),
    endedMs: null,
    expiresMs: null,
    error: null,
  };
}

/** GGUF stays GGUF; every other file becomes safetensors. */
function ending({ source }: JobRequest, isFolder: boolean): string {
  if (isFolder) return "";
  return source.endsWith(".gguf") ? ".gguf" : ".safetensors";
}

/** Of all that it reads. */
export function totalInputBytes({ files }: StoredJob): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
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
  const { request } = job;
  return {
    job: job.job,
    state: job.state,
    source: request.source,
    result: job.result,
    isFolder: job.isFolder,
    operation: request.operation,
    inputBytes: job.inputBytes,
    totalInputBytes: totalInputBytes(job),
    outputBytes: job.outputBytes,
    totalOutputBytes: job.totalOutputBytes,
    createdMs: job.createdMs,
    endedMs: job.endedMs,
    expiresMs: job.expiresMs,
    error: job.error,
  };
}
