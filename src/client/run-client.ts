/** Client for one run: the requests of trainers and of its owner. */
import { decodeFrame, type Frame } from "../api/frame.ts";
import { FRAME_BASE, frameOnto } from "../api/frame-delta.ts";
import type { PinnedDataset } from "../api/dataset.ts";
import type { GenerateRequest, TextEvent } from "../api/generation.ts";
import type {
  Completion,
  CompletionResponse,
  Lease,
  LeaseRequest,
  LeaseResponse,
  PullOptions,
} from "../api/lease.ts";
import type { RunEvent, StepMetrics, StepRecord } from "../api/run-metrics.ts";
import type { JoinToken, RunStatus, StateRequest } from "../api/run-status.ts";
import { AppError } from "../api/errors.ts";
import { readEvents } from "./events.ts";
import type { Http } from "./http.ts";
import { datasetPath, queryOf, runPath } from "./paths.ts";
import { readTextEvents } from "./text.ts";
import { withReason } from "./with-reason.ts";

const BINARY = { "Content-Type": "application/octet-stream" };

export class RunClient {
  readonly run: string;
  readonly #http: Http;
  readonly #path: string;

  constructor(http: Http, run: string) {
    this.#http = http;
    this.run = run;
    this.#path = runPath(run);
  }

  status(): Promise<RunStatus> {
    return this.#http.json("GET", this.#path);
  }

  // For trainers

  lease(request: LeaseRequest): Promise<LeaseResponse> {
    return this.#http.json("POST", `${this.#path}/leases`, request);
  }

  complete(lease: Lease, completion: Completion): Promise<CompletionResponse> {
    const { kind, step, index, key } = lease;
    return this.#http.json(
      "PUT",
      `${this.#path}/leases/${kind}/${step}/${index}`,
      completion,
      { headers: { "Lease-Key": key } },
    );
  }

  /** Releases the trainer's leases. */
  async leave({
    trainer,
    bootId,
  }: Omit<LeaseRequest, "fingerprint">): Promise<void> {
    const query = queryOf({ trainer, bootId });
    await this.#http.request("DELETE", `${this.#path}/leases${query}`);
  }

  /** A shard's parameters at a step. Errors: `step_gone` if the shard is past it */
  async pull(
    shard: number,
    step: number,
    { base, rewinds, waitMs }: PullOptions = {},
  ): Promise<Frame & { travelled: { bytes: number; ms: number } }> {
    const query = queryOf({ step, rewinds, waitMs });
    const path = `${this.#path}/shards/${shard}/parameters${query}`;
    const read = (headers: Record<string, string>) =>
      this.#http.read("GET", path, { headers }, async (answer) => {
        const startMs = performance.now();
        const bytes = new Uint8Array(await answer.arrayBuffer());
        const ms = performance.now() - startMs;
        const travelled = { bytes: bytes.length, ms };
        const isDelta = answer.headers.get(FRAME_BASE) !== null;
        return isDelta
          ? { frame: undefined, delta: bytes, travelled }
          : { frame: await decodeFrame(bytes), travelled };
      });
    const answer = await read(base ? { [FRAME_BASE]: base.digest } : {});
    const { frame, travelled } = answer;
    if (frame) return { ...frame, travelled };
    try {
      return { ...(await frameOnto(base!, answer.delta)), travelled };
    } catch {
      // After a damaged difference, the whole frame is requested, since the base was overwritten.
      return this.pull(shard, step, { rewinds, waitMs });
    }
  }

  async push(
    shard: number,
    { step, index, key }: Lease,
    frame: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    const response = await this.#http.request(
      "PUT",
      `${this.#path}/shards/${shard}/gradients/${step}/${index}`,
      { body: frame, headers: { ...BINARY, "Lease-Key": key } },
    );
    // Cancelling the body would close the connection, and the next push would need another.
    await response.arrayBuffer();
  }

  /** Errors: `dataset_differs` if the dataset is no longer the one that the run pins */
  async tokens(
    dataset: PinnedDataset,
    start: number,
    length: number,
  ): Promise<Uint8Array | Uint16Array> {
    const window = queryOf({ start, length });
    const bytes = await this.#read(dataset, `tokens${window}`);
    return dataset.tokenizer === "byte"
      ? new Uint8Array(bytes)
      : new Uint16Array(bytes);
  }

  /** Errors: as `tokens` */
  async tokenizer(dataset: PinnedDataset): Promise<string> {
    return new TextDecoder().decode(await this.#read(dataset, "tokenizer"));
  }

  /** Reads from the dataset, checking that it is the pinned one. */
  async #read(
    { name, digest }: PinnedDataset,
    path: string,
  ): Promise<ArrayBuffer> {
    const { etag, bytes } = await this.#http.read(
      "GET",
      `${datasetPath(name)}/${path}`,
      {},
      async (answer) => ({
        etag: answer.headers.get("ETag"),
        bytes: await answer.arrayBuffer(),
      }),
    );
    if (etag === `"${digest}"`) return bytes;
    throw new AppError(
      "dataset_differs",
      `Expected the tokens of "${name}" with SHA-256 ${digest}, got ETag ${etag}`,
    );
  }

  // For the run's owner

  setState(state: StateRequest["state"]): Promise<RunStatus> {
    return this.#http.json("PATCH", this.#path, { state });
  }

  /** Sets the fingerprint that trainers must have; null to take that of the next trainer. */
  setFingerprint(fingerprint: string | null): Promise<RunStatus> {
    return this.#http.json("PATCH", this.#path, { fingerprint });
  }

  /** The steps whose full state is kept, in order; the last is the present one. */
  async states(): Promise<number[]> {
    const { steps } = await this.#http.json<{ steps: number[] }>(
      "GET",
      `${this.#path}/states`,
    );
    return steps;
  }

  /** Rewinds to the last step up to `step` whose state is kept. */
  rewind(step: number): Promise<RunStatus> {
    return this.#http.json("POST", `${this.#path}/rewind`, { step });
  }

  /** Starts edge trainers; returns their names. */
  async addTrainers(count: number): Promise<string[]> {
    const { trainers } = await this.#http.json<{ trainers: string[] }>(
      "POST",
      `${this.#path}/trainers`,
      { count },
    );
    return trainers;
  }

  /** Issues a token with which others can train in this run only. */
  joinToken(
    options: { expiresInMs?: number } = {},
  ): Promise<{ token: string; id: string; expiresMs: number }> {
    return this.#http.json("POST", `${this.#path}/trainers`, {
      join: true,
      ...options,
    });
  }

  /** The issued tokens, and quarantined authors. */
  async joinTokens(): Promise<JoinToken[]> {
    const { tokens } = await this.#http.json<{ tokens: JoinToken[] }>(
      "GET",
      `${this.#path}/tokens`,
    );
    return tokens;
  }

  setTokenState(id: string, state: "active" | "revoked"): Promise<JoinToken> {
    return this.#http.json(
      "PATCH",
      `${this.#path}/tokens/${encodeURIComponent(id)}`,
      { state },
    );
  }

  async metrics(): Promise<StepMetrics[]> {
    const text = await this.#http.read(
      "GET",
      `${this.#path}/metrics`,
      {},
      (answer) => answer.text(),
    );
    const lines = text.split("\n").filter(Boolean);
    return lines.map((line) => JSON.parse(line) as StepMetrics);
  }

  /** The same as a file: JSON lines, or CSV with a header. */
  metricsFile(format: "csv" | "jsonl"): Promise<Response> {
    return this.#http.request("GET", `${this.#path}/metrics?format=${format}`);
  }

  /** The results of a step, with their authors. Errors: `future_step` */
  step(step: number): Promise<StepRecord> {
    return this.#http.json("GET", `${this.#path}/steps/${step}`);
  }

  /** All events after `lastEventId`, live, until the run has ended. Reconnects by itself. */
  events(lastEventId = 0): AsyncGenerator<RunEvent> {
    return readEvents(this.#http, `${this.#path}/events`, lastEventId);
  }

  /**
   * Downloads a checkpoint. Format: safetensors by default; `hf`, a tar of a directory for transformers; `gguf` or
   * `gguf-mxfp4` for llama.cpp. State `full` (safetensors only) includes everything needed to resume. `step` is one
   * of `states`, by default the present one. Chain `authors` adds the digest that covers authors. If the body breaks
   * off, the error tells why, for example that the run was rewound.
   */
  async checkpoint(
    options: {
      format?: "safetensors" | "hf" | "gguf" | "gguf-mxfp4";
      state?: "parameters" | "full";
      step?: number;
      chain?: "authors";
    } = {},
  ): Promise<Response> {
    const path = `${this.#path}/checkpoint`;
    const query = queryOf(options);
    const answer = await this.#http.request("GET", path + query);
    return withReason(this.#http, path, answer);
  }

  /** Generates text with the run's current parameters: pieces, and finally how the text ended. */
  generate(request: GenerateRequest): AsyncGenerator<TextEvent> {
    return readTextEvents(this.#http, `${this.#path}/generate`, request);
  }

  /** Deletes a run that has ended. */
  async remove(): Promise<void> {
    await this.#http.request("DELETE", this.#path);
  }
}
