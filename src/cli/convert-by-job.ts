/**
 * Converts what is too large for a request on an edge: upload, job, download. The job's key is a digest of the source's
 * state and the request, so the same command continues after an interruption wherever it was.
 */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { AppError, type ErrorCode } from "../api/errors.ts";
import type { JobOperation, JobRequest, JobStatus } from "../api/tensors.ts";
import { isDirectory } from "../local/folders.ts";
import { cardName } from "./card-name.ts";
import { isTaken } from "../checkpoints/folder-plan.ts";
import type { Mxfp4Edge } from "../client/mxfp4-edge.ts";
import { Bar } from "./bar.ts";
import { receiveFile, receiveFolder } from "./receive-files.ts";
import { listAll, sendFiles, sendingsOf } from "./send-files.ts";

/** Returns the ended job's status. Errors: the job's error */
export async function convertByJob(
  edge: Mxfp4Edge,
  from: string,
  to: string,
  request: JobOperation,
): Promise<JobStatus> {
  const isFolder = isDirectory(from);
  const sendings = await sendingsOf(from, "", isFolder ? isTaken : undefined);
  const key = await keyOf(resolve(from), sendings, request);
  // The model card uses the last part of a folder's name.
  const source = `${key}/${cardName(from)}`;
  const result = `${key}.result`;
  const named = sendings.map(({ path, name }) => ({
    path,
    name: `${source}${name}`,
  }));
  const status =
    (await present(edge, key)) ??
    (await begun(edge, named, { ...request, source, result, clientKey: key }));
  const end = await finished(edge, status.job, request.operation);
  if (!end.error) await receive(edge, end, to);
  await edge.removeJob(end.job);
  await Promise.all([
    remove(edge, source, isFolder),
    ...(end.error ? [] : [remove(edge, result, end.isFolder)]),
  ]);
  if (end.error)
    throw new AppError(end.error.code as ErrorCode, end.error.detail);
  return end;
}

/** A job created by an earlier call. */
async function present(
  edge: Mxfp4Edge,
  key: string,
): Promise<JobStatus | undefined> {
  try {
    return await edge.job(key);
  } catch (error) {
    if (error instanceof AppError && error.code === "job_not_found")
      return undefined;
    throw error;
  }
}

async function begun(
  edge: Mxfp4Edge,
  sendings: Awaited<ReturnType<typeof sendingsOf>>,
  request: JobRequest & { source: string },
): Promise<JobStatus> {
  const { source } = request;
  const bar = new Bar("upload");
  await sendFiles(edge, sendings, source, bar);
  bar.end();
  return edge.createJob(request);
}

async function finished(
  edge: Mxfp4Edge,
  job: string,
  operation: string,
): Promise<JobStatus> {
  const bar = new Bar(operation);
  let told = 0;
  const end = await edge.finishedJob(job, ({ inputBytes, totalInputBytes }) => {
    bar.begin(totalInputBytes ?? 0);
    bar.add(inputBytes - told);
    told = inputBytes;
  });
  bar.end();
  return end;
}

async function receive(
  edge: Mxfp4Edge,
  { result, isFolder, outputBytes }: JobStatus,
  to: string,
): Promise<void> {
  const bar = new Bar("download");
  bar.begin(outputBytes);
  if (isFolder) {
    const entries = await listAll(edge, `${result}/`);
    await receiveFolder(edge, result, entries, to, bar);
  } else {
    await receiveFile(edge, result, to, bar);
  }
  bar.end();
}

async function remove(
  edge: Mxfp4Edge,
  name: string,
  isFolder: boolean,
): Promise<void> {
  await (isFolder ? edge.removeFolder(name) : edge.removeFile(name));
}

/** Digest of the files' names, sizes and times, and of the request. */
async function keyOf(
  from: string,
  sendings: readonly { path: string; name: string }[],
  request: JobOperation,
): Promise<string> {
  const statuses = await Promise.all(
    sendings.map(async ({ path, name }) => {
      const { size, mtimeMs } = await stat(path);
      return [name, size, mtimeMs];
    }),
  );
  const told = JSON.stringify([from, statuses, request]);
  return createHash("sha256").update(told).digest("hex").slice(0, 20);
}
