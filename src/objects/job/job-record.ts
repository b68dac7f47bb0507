/** What is written down of a job, and what callers see of it. */
import type { JobRequest, JobStatus, JobSummary } from "../../api/tensors.ts";
import { makesGguf } from "../../checkpoints/folder-request.ts";
import type { PinnedFile, PinnedSource } from "./pinned-file.ts";
import { shownUrl } from "./url-file.ts";

const HOUR_MS = 60 * 60_000;
/** How long a job that has ended stays, its result with it. */
export const RETENTION_MS = {
  least: 1000,
  most: 90 * 24 * HOUR_MS,
  default: 7 * 24 * HOUR_MS,
};

export type StoredJob = Omit<
  JobSummary,
  "source" | "operation" | "isFolder" | "totalInputBytes"
> &
  Partial<Pick<JobStatus, "leftOut" | "missing">> & {
    /** Without a token. */
    request: JobRequest;
    /** With which its URL is read; it is gone when the job has ended. */
    token?: string | null;
    /** Of the source. */
    isFolder: boolean;
    /** What it reads; null until its URL has answered. */
    files: PinnedFile[] | null;
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
  };

export function newJob(
  job: string,
  request: JobRequest,
  { isFolder, files }: PinnedSource,
  token: string | null = null,
): StoredJob {
  return {
    job,
    request,
    token,
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

/** Whether the result is a folder, as that of a folder is but for what is one file by its nature. */
export function makesFolder({
  request,
  isFolder,
}: Pick<StoredJob, "request" | "isFolder">): boolean {
  return isFolder && request.operation !== "analyze" && !makesGguf(request);
}

/** GGUF stays GGUF; every other file becomes safetensors. */
function ending(request: JobRequest, isFolder: boolean): string {
  const { source } = request;
  if (makesFolder({ request, isFolder })) return "";
  if (request.operation === "analyze") return ".json";
  if (isFolder) return ".gguf";
  return shownSource(source).endsWith(".gguf") ? ".gguf" : ".safetensors";
}

/** Of all that it reads; null until that is known. */
export function totalInputBytes({ files }: StoredJob): number | null {
  return files && files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** A URL without its query, which may be a secret. */
function shownSource(source: JobRequest["source"]): string {
  return typeof source === "string" ? source : shownUrl(source.url);
}

/** Its end, and with it the time at which it goes. */
export function end(job: StoredJob, error: StoredJob["error"]): void {
  const { retentionMs = RETENTION_MS.default } = job.request;
  job.state = error ? "failed" : "finished";
  job.error = error;
  job.endedMs = Date.now();
  job.expiresMs = job.endedMs + retentionMs;
  job.parts = [];
  job.token = null;
  // What a failure leaves of an upload is to be taken back.
  if (!error) job.uploadId = null;
}

export function summaryOf(job: StoredJob): JobSummary {
  const { request } = job;
  return {
    job: job.job,
    state: job.state,
    source: shownSource(request.source),
    result: job.result,
    isFolder: makesFolder(job),
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

/** A source as it is kept and shown, and what is not. */
export function withoutToken(source: JobRequest["source"]): {
  source: JobRequest["source"];
  token: string | null;
} {
  if (typeof source === "string") return { source, token: null };
  const { url, token = null } = source;
  return { source: { url }, token };
}
