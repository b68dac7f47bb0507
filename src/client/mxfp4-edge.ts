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
  /** Quantizes a file's float tensors to MXFP4. Content-Length is known before the first byte. */
  quantize(body: TensorBody, options: QuantizeOptions = {}): Promise<Response> {
    return this.#send("/v1/quantize", body, QUANTIZE_OPTIONS, options);
  }

  /** Dequantizes a file's MXFP4 tensors to floats. */
  dequantize(
    body: TensorBody,
    options: DequantizeOptions = {},
  ): Promise<Response> {
    return this.#send("/v1/dequantize", body, DEQUANTIZE_OPTIONS, options);
  }

  /** Converts a file's quantized tensors to another layout, with the same codes and scales. */
  repack(body: TensorBody, options: RepackOptions): Promise<Response> {
    return this.#send("/v1/repack", body, REPACK_OPTIONS, options);
  }

  /** Reports the quantization error of each tensor, for one or more schemes. */
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

  /** Applies the random Hadamard transform to a file's float tensors. */
  hadamard(body: TensorBody, options: HadamardOptions = {}): Promise<Response> {
    return this.#send("/v1/hadamard", body, HADAMARD_OPTIONS, options);
  }

  /** Multiplies a file's tensors: `c` = a · bᵀ. */
  gemm(body: TensorBody, options: GemmOptions = {}): Promise<Response> {
    return this.#send("/v1/gemm", body, GEMM_OPTIONS, options);
  }

  /**
   * Stores a file for jobs; replaces one with the same name. A file of more than 64 MiB that is not a stream is
   * uploaded in parts, three at a time; after an interruption, the same call sends the missing ones.
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
   * Downloads a stored file, or its bytes [start, end). A body that breaks off continues over further connections;
   * reading fails with `file_changed` if the file was replaced meanwhile.
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

  /** Begins or continues an upload in parts. `putFile` does all of this. */
  beginUpload(
    name: string,
    sizes: { bytes: number; partBytes: number },
  ): Promise<FileUpload> {
    return this.http.json("POST", `${filePath(name)}/uploads`, sizes);
  }

  /** The state of an upload in parts. */
  upload(name: string, upload: string): Promise<FileUpload> {
    return this.http.json("GET", uploadPath(name, upload));
  }

  /** Uploads a part, numbered from 1. */
  async putPart(
    name: string,
    upload: string,
    part: number,
    body: TensorBody,
  ): Promise<UploadPart> {
    return this.#put(`${uploadPath(name, upload)}/${part}`, body);
  }

  /** Completes an upload. */
  completeUpload(name: string, upload: string): Promise<StoredFile> {
    return this.http.json("POST", `${uploadPath(name, upload)}/complete`);
  }

  /** Aborts an upload, and deletes what was received. */
  async abortUpload(name: string, upload: string): Promise<void> {
    await this.http.request("DELETE", uploadPath(name, upload));
  }

  /** Downloads a folder as one tar, like `file`. */
  folder(name: string): Promise<Response> {
    return download(this.http, folderPath(name));
  }

  async removeFolder(name: string): Promise<void> {
    await this.http.request("DELETE", folderPath(name));
  }

  async removeFile(name: string): Promise<void> {
    await this.http.request("DELETE", filePath(name));
  }

  /**
   * Creates a job that converts a stored file or folder. Its key is chosen here, so that a repeated request creates
   * only one job.
   */
  createJob(request: JobRequest): Promise<JobStatus> {
    const clientKey = request.clientKey ?? `job-${crypto.randomUUID()}`;
    return this.http.json("POST", "/v1/jobs", { ...request, clientKey });
  }

  /** A page of the jobs, newest first; its `next` is the `cursor` of the next page. */
  jobs(page: { limit?: number; cursor?: string } = {}): Promise<JobPage> {
    return this.http.json("GET", `/v1/jobs${queryOf(page)}`);
  }

  async job(job: string): Promise<JobStatus> {
    const status = await this.http.json<JobStatus>("GET", jobPath(job));
    // Earlier releases do not return these.
    return {
      ...status,
      leftOut: status.leftOut ?? [],
      missing: status.missing ?? [],
    };
  }

  /** Waits until the job has ended; `onProgress` is called meanwhile. */
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

  /** Deletes a job; cancels it if it is running. */
  async removeJob(job: string): Promise<void> {
    await this.http.request("DELETE", jobPath(job));
  }

  /** Generates text with a stored model, a folder or a file: pieces, and finally how the text ended. */
  generate(model: string, request: GenerateRequest): AsyncGenerator<TextEvent> {
    return readTextEvents(this.http, "/v1/generate", { ...request, model });
  }

  health(): Promise<{ status: "ok" }> {
    return this.http.json("GET", "/healthz");
  }

  /** Versions, fingerprint and access mode. */
  version(): Promise<ServiceVersion> {
    return this.http.json("GET", "/version");
  }

  /** The service's metrics, in Prometheus text format. */
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

/** Returns the result of `send`; on failure, releases the body's stream. */
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
