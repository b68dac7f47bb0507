/** Client for datasets and runs; `run` returns a client for one run. */
import { AppError, type ErrorCode } from "../api/errors.ts";
import type { Dataset, DatasetOptions, DatasetPage } from "../api/dataset.ts";
import type { RunRequest } from "../api/run-config.ts";
import type { RunStatus, RunSummary } from "../api/run-status.ts";
import { type ClientOptions, Http } from "./http.ts";
import { datasetPath, queryOf } from "./paths.ts";
import { pause, pauseMs } from "./retry.ts";
import { RunClient } from "./run-client.ts";

export class Client {
  protected readonly http: Http;

  constructor(options: ClientOptions) {
    this.http = new Http(options);
  }

  /**
   * Stores a text as a dataset. Idempotent. A Blob may be a file that is not in memory. With `bpe`, the dataset is
   * only `ready` later: `readyDataset` waits for that.
   */
  putDataset(
    name: string,
    text: Uint8Array<ArrayBuffer> | Blob,
    options: DatasetOptions = {},
  ): Promise<Dataset> {
    return this.http.read<Dataset>(
      "PUT",
      datasetPath(name) + queryOf(options),
      {
        body: text,
        headers: { "Content-Type": "application/octet-stream" },
        timeoutMs: 0,
      },
      (answer) => answer.json(),
    );
  }

  dataset(name: string): Promise<Dataset> {
    return this.http.json("GET", datasetPath(name));
  }

  /**
   * Waits until runs can use the dataset; `onProgress` is called meanwhile. Errors: that of a dataset that has failed
   */
  async readyDataset(
    name: string,
    onProgress: (dataset: Dataset) => void = () => {},
  ): Promise<Dataset> {
    for (let attempt = 0; ; attempt++) {
      const dataset = await this.dataset(name);
      onProgress(dataset);
      if (dataset.error) {
        const { code, detail } = dataset.error;
        throw new AppError(code as ErrorCode, detail);
      }
      if (dataset.state === "ready") return dataset;
      await pause(pauseMs(attempt), this.http.signal);
      this.http.signal?.throwIfAborted();
    }
  }

  /** The tokenizer of a dataset, as Hugging Face's tokenizer.json. */
  tokenizer(name: string): Promise<string> {
    const path = `${datasetPath(name)}/tokenizer`;
    return this.http.read("GET", path, {}, (answer) => answer.text());
  }

  /** A page of the datasets, by name; its `next` is the next one's `cursor`. */
  datasets(
    page: { limit?: number; cursor?: string } = {},
  ): Promise<DatasetPage> {
    return this.http.json("GET", `/v1/datasets${queryOf(page)}`);
  }

  async removeDataset(name: string): Promise<void> {
    await this.http.request("DELETE", datasetPath(name));
  }

  /** Creates and starts a run. Its id is chosen here, so that a repeated request creates only one run. */
  createRun(request: RunRequest): Promise<RunStatus> {
    const run = request.run ?? `run-${crypto.randomUUID().slice(0, 13)}`;
    return this.http.json("POST", "/v1/runs", { ...request, run });
  }

  async runs(): Promise<RunSummary[]> {
    const { runs } = await this.http.json<{ runs: RunSummary[] }>(
      "GET",
      "/v1/runs",
    );
    return runs;
  }

  run(run: string): RunClient {
    return new RunClient(this.http, run);
  }
}
