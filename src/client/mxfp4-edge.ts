/**
 * The whole API from the caller's side, and the entry `mxfp4-edge/client`:
 *
 *   const edge = new Mxfp4Edge({ baseUrl: "http://127.0.0.1:8787" });
 *   const answer = await edge.quantize(await openAsBlob("model.safetensors"), { layout: "gpt-oss" });
 *   await writeFile("model-mxfp4.safetensors", answer.body);
 *
 * A refusal throws an `AppError`, with the code that the server gave. What fails for a reason that may
 * pass is tried again.
 */
import { type Options, type ValuesOf } from "../api/option-kinds.ts";
import { checkOptions } from "../api/check-options.ts";
import { writeQuery } from "../api/option-text.ts";
import {
  ANALYZE_MODEL_OPTIONS,
  DEQUANTIZE_OPTIONS,
  GEMM_OPTIONS,
  HADAMARD_OPTIONS,
  QUANTIZE_OPTIONS,
  REPACK_OPTIONS,
} from "../api/options.ts";
import type {
  Analysis,
  AnalyzeModelOptions,
  DequantizeOptions,
  FilePage,
  FileUpload,
  GemmOptions,
  HadamardOptions,
  JobPage,
  JobRequest,
  JobStatus,
  QuantizeOptions,
  RepackOptions,
  StoredFile,
  TensorBody,
  UploadPart,
} from "../api/tensors.ts";
import type { GenerateRequest, TextEvent } from "../api/generation.ts";
import type { ServiceVersion } from "../api/service-version.ts";
import { Client } from "./client.ts";
import type { ClientOptions } from "./http.ts";
import { readTextEvents } from "./text.ts";
import { manyPartsOf, PartsUpload } from "./parts-upload.ts";
import { download } from "./resumed-body.ts";
import { pause, pauseMs } from "./retry.ts";
import { releaseBody } from "../api/tensor-body.ts";
import { sendBody } from "./tensor-body.ts";
import { filePath, folderPath, jobPath, queryOf, uploadPath } from "./paths.ts";

export { AppError, type ErrorCode } from "../api/errors.ts";
export type * from "../api/tensors.ts";
export type * from "../api/dataset.ts";
export type * from "../api/generation.ts";
export type * from "../api/lease.ts";
export type * from "../api/run-config.ts";
export type * from "../api/run-metrics.ts";
export type * from "../api/run-status.ts";
export type * from "../api/service-version.ts";
export type { ClientOptions };

export class Mxfp4Edge extends Client {
  /** The file with its float tensors in MXFP4. Content-Length is known before the first byte. */
  quantize(body: TensorBody, options: QuantizeOptions = {}): Promise<Response> {
    return this.#send("/v1/quantize", body, QUANTIZE_OPTIONS, options);
  }

  /** The file with its MXFP4 tensors as floats. */
  dequantize(
    body: TensorBody,
    options: DequantizeOptions = {},
  ): Promise<Response> {
    return this.#send("/v1/dequantize", body, DEQUANTIZE_OPTIONS, options);
  }

  /** The file with its tensors in blocks in another layout: the same codes and scales. */
  repack(body: TensorBody, options: RepackOptions): Promise<Response> {
    return this.#send("/v1/repack", body, REPACK_OPTIONS, options);
  }

  /** What quantizing would do to each tensor, by one scheme or several. */
  async analyze(
    body: TensorBody,
    options: AnalyzeModelOptions = {},
  ): Promise<Analysis> {
    const response = await this.#send(
      "/v1/analyze",
      body,
      ANALYZE_MODEL_OPTIONS,
      options,
    );
    return response.json<Analysis>();
  }

  /** The file with its float tensors rotated. */
  hadamard(body: TensorBody, options: HadamardOptions = {}): Promise<Response> {
    return this.#send("/v1/hadamard", body, HADAMARD_OPTIONS, options);
  }

  /** A file of `c` = a · bᵀ, from one of `a` and `b`. */
  gemm(body: TensorBody, options: GemmOptions = {}): Promise<Response> {
    return this.#send("/v1/gemm", body, GEMM_OPTIONS, options);
  }

  /**
   * Store a file for jobs, in place of one that has the name. One of more than 64 MiB that is no stream goes
   * in parts, three at a time; after a kill, the same call sends those that are missing.
   */
  async putFile(
    name: string,
    body: TensorBody,
    { onProgress }: { onProgress?: (sentBytes: number) => void } = {},
  ): Promise<StoredFile> {
    const large = manyPartsOf(body);
    if (large)
      return new PartsUpload(
        this.http,
        filePath(name),
        large,
        onProgress,
      ).send();
    return this.#put(filePath(name), body);
  }

  /**
   * A stored file, or its bytes from `start` to before `end`. A body that breaks off goes on over further
   * connections; reading it fails with `file_changed` when the file is another by then.
   */
  file(
    name: string,
    range?: { start: number; end: number },
  ): Promise<Response> {
    return download(this.http, filePath(name), range);
  }

  /** A page of the stored files, by name; its `next` is the next one's `cursor`. */
  files(
    page: { prefix?: string; limit?: number; cursor?: string } = {},
  ): Promise<FilePage> {
    return this.http.json("GET", `/v1/files${queryOf(page)}`);
  }

  /** Begin to send a file in parts, or find it under way. `putFile` does all of it. */
  beginUpload(
    name: string,
    sizes: { bytes: number; partBytes: number },
  ): Promise<FileUpload> {
    return this.http.json("POST", `${filePath(name)}/uploads`, sizes);
  }

  /** What came of a file that is sent in parts. */
  upload(name: string, upload: string): Promise<FileUpload> {
    return this.http.json("GET", uploadPath(name, upload));
  }

  /** Send a part, from 1. */
  async putPart(
    name: string,
    upload: string,
    part: number,
    body: TensorBody,
  ): Promise<UploadPart> {
    return this.#put(`${uploadPath(name, upload)}/${part}`, body);
  }

  /** Put the parts together. */
  completeUpload(name: string, upload: string): Promise<StoredFile> {
    return this.http.json("POST", `${uploadPath(name, upload)}/complete`);
  }

  /** Take back what came. */
  async abortUpload(name: string, upload: string): Promise<void> {
    await this.http.request("DELETE", uploadPath(name, upload));
  }

  /** All of a folder as one tar, as `file` gives a file. */
  folder(name: string): Promise<Response> {
    return download(this.http, folderPath(name));
  }

  async removeFolder(name: string): Promise<void> {
    await this.http.request("DELETE", folderPath(name));
  }

  async removeFile(name: string): Promise<void> {
    await this.http.request("DELETE", filePath(name));
  }

  /** Begin a conversion of a stored file. It gets its key here, so that a repeat is the same job. */
  createJob(request: JobRequest): Promise<JobStatus> {
    const clientKey = request.clientKey ?? `job-${crypto.randomUUID()}`;
    return this.http.json("POST", "/v1/jobs", { ...request, clientKey });
  }

  /** A page of the jobs that exist, the newest first; its `next` is the next one's `cursor`. */
  jobs(page: { limit?: number; cursor?: string } = {}): Promise<JobPage> {
    return this.http.json("GET", `/v1/jobs${queryOf(page)}`);
  }

  async job(job: string): Promise<JobStatus> {
    const status = await this.http.json<JobStatus>("GET", jobPath(job));
    // Edges of earlier releases tell of neither.
    return {
      ...status,
      leftOut: status.leftOut ?? [],
      missing: status.missing ?? [],
    };
  }

  /** The job once it no longer runs; `onProgress` is told of it on the way. */
  async finishedJob(
    job: string,
    onProgress: (status: JobStatus) => void = () => {},
  ): Promise<JobStatus> {
    for (let attempt = 0; ; attempt++) {
      const status = await this.job(job);
      onProgress(status);
      if (status.state !== "running") return status;
      await pause(pauseMs(attempt), this.http.signal);
      this.http.signal?.throwIfAborted();
    }
  }

  /** Cancel a job that runs, and forget it. */
  async removeJob(job: string): Promise<void> {
    await this.http.request("DELETE", jobPath(job));
  }

  /** What a model among the files writes, a folder or a checkpoint, piece by piece, and at last how it ended. */
  generate(model: string, request: GenerateRequest): AsyncGenerator<TextEvent> {
    return readTextEvents(this.http, "/v1/generate", { ...request, model });
  }

  health(): Promise<{ status: "ok" }> {
    return this.http.json("GET", "/healthz");
  }

  /** What answers, and who is let in. */
  version(): Promise<ServiceVersion> {
    return this.http.json("GET", "/version");
  }

  /** The service's figures, in the text format of Prometheus. */
  serviceMetrics(): Promise<string> {
    return this.http.read("GET", "/metrics", {}, (answer) => answer.text());
  }

  /** The API's OpenAPI document. */
  description(): Promise<Record<string, unknown>> {
    return this.http.json("GET", "/openapi.json");
  }

  async #put<T>(path: string, body: TensorBody): Promise<T> {
    const response = await releasing(body, () =>
      this.http.request("PUT", path, sendBody(body)),
    );
    return response.json<T>();
  }

  /** Options are checked before they are sent. */
  async #send<T extends Options>(
    path: string,
    body: TensorBody,
    table: T,
    options: ValuesOf<T>,
  ): Promise<Response> {
    return releasing(body, () => {
      const query = writeQuery(table, checkOptions(table, options));
      return this.http.request("POST", path + query, sendBody(body));
    });
  }
}

/** What `send` gives; a failure gives the body's stream back. */
async function releasing(
  body: TensorBody,
  send: () => Promise<Response>,
): Promise<Response> {
  try {
    return await send();
  } catch (error) {
    await releaseBody(body);
    throw error;
  }
}
