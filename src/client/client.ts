/** The API's client: datasets and runs. `run` gives one run's. */
import type {
  Dataset,
  DatasetPage,
  RunRequest,
  RunStatus,
  RunSummary,
} from "../api/types.ts";
import { type ClientOptions, Http } from "./http.ts";
import { RunClient } from "./run-client.ts";

export class Client {
  protected readonly http: Http;

  constructor(options: ClientOptions) {
    this.http = new Http(options);
  }

  /** Store a corpus; repeating it changes nothing. A Blob may be a file that is not in memory. */
  putDataset(
    name: string,
    text: Uint8Array<ArrayBuffer> | Blob,
  ): Promise<Dataset> {
    return this.http
      .request("PUT", datasetPath(name), {
        body: text,
        headers: { "Content-Type": "application/octet-stream" },
        timeoutMs: 0,
      })
      .then((response) => response.json<Dataset>());
  }

  dataset(name: string): Promise<Dataset> {
    return this.http.json("GET", datasetPath(name));
  }

  /** A page of the datasets, by name; its `next` is the next one's `cursor`. */
  datasets(
    page: { limit?: number; cursor?: string } = {},
  ): Promise<DatasetPage> {
    return this.http.json("GET", `/v1/datasets${pageQuery(page)}`);
  }

  async removeDataset(name: string): Promise<void> {
    await this.http.request("DELETE", datasetPath(name));
  }

  /** Create a run and begin it. It gets its id here, so that a repeated request creates one run. */
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

function datasetPath(name: string): string {
  return `/v1/datasets/${encodeURIComponent(name)}`;
}

/** What is told of a page, as a query; empty without any. */
export function pageQuery(page: object): string {
  const told = Object.entries(page).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(
    told.map(([name, value]) => [name, String(value)]),
  );
  return query.size > 0 ? `?${query.toString()}` : "";
}
