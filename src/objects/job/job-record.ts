/** A job as stored, and as callers see it. */
import type { JobRequest, JobStatus, JobSummary } from "../../api/tensors.ts";
import { makesGguf } from "../../checkpoints/folder-request.ts";
import type { PinnedFile, PinnedSource } from "./pinned-file.ts";
import { shownUrl } from "./url-file.ts";

const HOUR_MS = 60 * 60_000;
/** How long an ended job and its result are kept. */
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
    /** Without its token. */
    request: JobRequest;
    /** The token for the source URL; deleted when the job has ended. */
    token?: string | null;
    /** Whether the source is a folder. */
    isFolder: boolean;
    /** The input files; null until the source URL has been queried. */
    files: PinnedFile[] | null;
    /** Whether the directory lists the job. */
    isListed: boolean;
    /** Index of the output being written. */
    output: number;
    /** The output's multipart upload, or one still to be aborted, and its file name. */
    uploadId: string | null;
    uploadName: string | null;
    parts: R2UploadedPart[];
    /** Consecutive failures that may be temporary. */
    failures: number;
    /** All parts are uploaded, and the upload is being completed. */
    isCompleting: boolean;
    /** Number of tensors whose digests are computed, once the file is complete; null before. */
    digests: number | null;
    /** Bytes read and written for the earlier outputs. */
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

/** Whether the result is a folder: yes for a folder, except for an analysis and a GGUF. */
export function makesFolder({
  request,
  isFolder,
}: Pick<StoredJob, "request" | "isFolder">): boolean {
  return isFolder && request.operation !== "analyze" && !makesGguf(request);
}

/** The file extension of the result. */
function ending(request: JobRequest, isFolder: boolean): string {
  const { source } = request;
  if (makesFolder({ request, isFolder })) return "";
  if (request.operation === "analyze") return ".json";
  if (isFolder) return ".gguf";
  return shownSource(source).endsWith(".gguf") ? ".gguf" : ".safetensors";
}

/** Size of all input files; null until it is known. */
export function totalInputBytes({ files }: StoredJob): number | null {
  return files && files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** A URL without its query, which may be a secret. */
function shownSource(source: JobRequest["source"]): string {
  return typeof source === "string" ? source : shownUrl(source.url);
}

/** Marks the job as ended, and sets when it is deleted. */
export function end(job: StoredJob, error: StoredJob["error"]): void {
  const { retentionMs = RETENTION_MS.default } = job.request;
  job.state = error ? "failed" : "finished";
  job.error = error;
  job.endedMs = Date.now();
  job.expiresMs = job.endedMs + retentionMs;
  job.parts = [];
  job.token = null;
  // After a failure, the upload still has to be aborted.
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

/** Separates a source from its token, which is never shown. */
export function withoutToken(source: JobRequest["source"]): {
  source: JobRequest["source"];
  token: string | null;
} {
  if (typeof source === "string") return { source, token: null };
  const { url, token = null } = source;
  return { source: { url }, token };
}
