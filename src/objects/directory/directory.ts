/**
 * Which datasets, runs and jobs exist. A single object, so that "no run uses this dataset" and "this dataset is
 * removed" are decided in one place. Its alarm deletes blobs that belong to no dataset.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError, toResult } from "../../api/errors.ts";
import type { PinnedDataset } from "../../api/dataset.ts";
import { shown } from "../../api/option-kinds.ts";
import type { RunSummary } from "../../api/run-status.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { DatasetList, type Tokenized } from "./dataset-list.ts";
import { DIRECTORY_SCHEMA } from "./directory-schema.ts";
import { type JobEntry, JobList } from "./job-list.ts";
import { jsonCalls, type JsonStub, jsonStub } from "../platform/json-calls.ts";
import {
  FileUploads,
  type StoredPart,
  type StoredUpload,
} from "./file-uploads.ts";
import { LooseKeys } from "./loose-keys.ts";
import type { StoredDataset } from "./stored-dataset.ts";
import { UnfinishedUploads } from "./unfinished-uploads.ts";

export class Directory extends DurableObject<{ BUCKET: R2Bucket }> {
  readonly #looseKeys = new LooseKeys(this.ctx.storage, this.env.BUCKET);
  readonly #uploads = new UnfinishedUploads(this.ctx.storage, this.env.BUCKET);
  readonly #calls = jsonCalls(
    this.ctx,
    directoryMethods(this.ctx.storage.sql, this.#looseKeys, this.#uploads),
    () => DIRECTORY_SCHEMA.ensure(this.ctx.storage),
  );

  override fetch(request: Request): Promise<Response> {
    return this.#calls.fetch(request);
  }

  override async alarm(): Promise<void> {
    const result = await toResult(async () => {
      DIRECTORY_SCHEMA.ensure(this.ctx.storage);
      await this.#uploads.sweep();
      await this.#looseKeys.sweep();
    });
    if (!result.ok) console.warn(result.message);
  }
}

export function directoryStub(
  bindings: Pick<ObjectBindings, "DIRECTORY">,
): JsonStub<ReturnType<typeof directoryMethods>> {
  return jsonStub(bindings.DIRECTORY, "directory");
}

function directoryMethods(
  sql: SqlStorage,
  looseKeys: LooseKeys,
  uploads: UnfinishedUploads,
) {
  const datasets = new DatasetList(sql, looseKeys);
  const jobs = new JobList(sql);
  const fileUploads = new FileUploads(sql, uploads);

  return {
    /** Errors: `dataset_not_found` */
    dataset: (name: string) => datasets.get(name),

    /** The dataset of this name, or null. */
    findDataset: (name: string): StoredDataset | null =>
      datasets.find(name) ?? null,

    /** A multipart upload begins; it is aborted unless it is renewed and ends. */
    beginParts: (uploadId: string, key: string) => uploads.enter(uploadId, key),

    /** The upload is still in progress. */
    renewParts: (uploadId: string) => uploads.renew(uploadId),

    /** The upload is complete or aborted. */
    endParts: (uploadId: string) => uploads.leave(uploadId),

    /** Adds an upload whose parts callers send; false if one with its name is in progress. */
    beginFileUpload: (entry: StoredUpload, key: string) =>
      fileUploads.enter(entry, key),

    /** The upload and the parts received; null if there is none in progress. */
    findFileUpload(
      file: string,
      upload: string,
    ): (StoredUpload & { parts: StoredPart[] }) | null {
      const found = fileUploads.find(file, upload);
      return found && { ...found, parts: fileUploads.parts(found.uploadId) };
    },

    /** A part with this number is about to be replaced. */
    forgetFilePart: (uploadId: string, part: number) =>
      fileUploads.forgetPart(uploadId, part),

    /** A part was received. Errors: `upload_not_found` */
    addFilePart: (uploadId: string, part: StoredPart) =>
      fileUploads.addPart(uploadId, part),

    /** All parts of the upload must be sent again. */
    forgetFileParts: (uploadId: string) => fileUploads.forgetParts(uploadId),

    datasets: (limit: number, after: string) => datasets.page(limit, after),

    /** An upload begins; its blob is deleted unless it becomes a dataset. */
    beginUpload: (key: string) => looseKeys.enter(key),

    /** The upload is still in progress. */
    renewUpload: (key: string) => looseKeys.renew(key),

    addDataset: (entry: StoredDataset) => datasets.add(entry),

    removeDataset: (name: string) => datasets.remove(name),

    noteProgress: (name: string, key: string, progress: number) =>
      datasets.noteProgress(name, key, progress),

    endTraining: (name: string, key: string, outcome: Tokenized) =>
      datasets.endTraining(name, key, outcome),

    /**
     * Adds a run and pins its dataset. Idempotent; the name can never change, since the run's object stores it too.
     * Errors: `dataset_differs`; `wrong_state` if a run with this id has another name
     */
    addRun(
      run: string,
      name: string | null,
      pinned: PinnedDataset,
      createdMs: number,
    ): void {
      const present = datasets.get(pinned.name);
      if (present.digest !== pinned.digest) {
        throw new AppError(
          "dataset_differs",
          `Expected "${pinned.name}" with SHA-256 ${pinned.digest}, got ${present.digest}`,
        );
      }
      const [entered] = sql.exec<{ name: string | null }>(
        "SELECT name FROM runs WHERE run = ?",
        run,
      );
      if (entered && entered.name !== name) {
        throw new AppError(
          "wrong_state",
          `Expected a new run id, or the name that run "${run}" already has, ${shown(entered.name)}; got ${shown(name)}`,
        );
      }
      sql.exec(
        "INSERT INTO runs (run, dataset, ended, created_ms, name) VALUES (?, ?, 0, ?, ?) ON CONFLICT DO NOTHING",
        run,
        pinned.name,
        createdMs,
        name,
      );
    },

    /** The run no longer pins its dataset. */
    endRun(run: string): void {
      sql.exec("UPDATE runs SET ended = 1 WHERE run = ?", run);
    },

    removeRun(run: string): void {
      sql.exec("DELETE FROM runs WHERE run = ?", run);
    },

    /** In order of creation, newest first. */
    runs(): RunSummary[] {
      const rows = sql.exec<{
        run: string;
        name: string | null;
        dataset: string;
        ended: number;
        created_ms: number;
      }>("SELECT * FROM runs ORDER BY created_ms DESC, run LIMIT 1000");
      return Array.from(rows, (row) => ({
        run: row.run,
        name: row.name,
        dataset: row.dataset,
        ended: row.ended === 1,
        createdMs: row.created_ms,
      }));
    },

    addJob: (entry: JobEntry) => jobs.add(entry),

    removeJob: (job: string) => jobs.remove(job),

    /** The newest first. */
    jobs: (limit: number, after: JobEntry | null) => jobs.page(limit, after),
  };
}
