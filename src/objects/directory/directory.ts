/**
 * Which datasets, runs and jobs exist. One object in all, so that "no run uses this dataset" and
 * "this dataset may go" are decided in one place. Its alarm sweeps blobs that no dataset has.
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

    /** An upload in parts begins, which is taken back unless it goes on and ends. */
    beginParts: (uploadId: string, key: string) => uploads.enter(uploadId, key),

    /** It is still under way. */
    renewParts: (uploadId: string) => uploads.renew(uploadId),

    /** It is whole, or taken back. */
    endParts: (uploadId: string) => uploads.leave(uploadId),

    /** Enter an upload whose parts callers send; false where one of its name is under way. */
    beginFileUpload: (entry: StoredUpload, key: string) =>
      fileUploads.enter(entry, key),

    /** It, and the parts that came; null when there is none under way. */
    findFileUpload(
      file: string,
      upload: string,
    ): (StoredUpload & { parts: StoredPart[] }) | null {
      const found = fileUploads.find(file, upload);
      return found && { ...found, parts: fileUploads.parts(found.uploadId) };
    },

    /** Another part of this number is on its way. */
    forgetFilePart: (uploadId: string, part: number) =>
      fileUploads.forgetPart(uploadId, part),

    /** A part came. Errors: `upload_not_found` */
    addFilePart: (uploadId: string, part: StoredPart) =>
      fileUploads.addPart(uploadId, part),

    /** All of its parts must come again. */
    forgetFileParts: (uploadId: string) => fileUploads.forgetParts(uploadId),

    datasets: (limit: number, after: string) => datasets.page(limit, after),

    /** An upload begins, whose blob goes unless it ends in a dataset. */
    beginUpload: (key: string) => looseKeys.enter(key),

    /** The upload is still under way. */
    renewUpload: (key: string) => looseKeys.renew(key),

    addDataset: (entry: StoredDataset) => datasets.add(entry),

    removeDataset: (name: string) => datasets.remove(name),

    noteProgress: (name: string, key: string, progress: number) =>
      datasets.noteProgress(name, key, progress),

    endTraining: (name: string, key: string, outcome: Tokenized) =>
      datasets.endTraining(name, key, outcome),

    /**
     * Enter a run and pin its dataset. Repeating it changes nothing; a name is for good, so that the run, which is
     * told it too, has the same. Errors: `dataset_differs`; `wrong_state`, a run of this id has another name
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

    /** The latest first. */
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
