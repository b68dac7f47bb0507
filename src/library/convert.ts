/** Converts tensor files in this process, from and to streams. */
import type { Options } from "../api/option-kinds.ts";
import { checkOptions } from "../api/check-options.ts";
import { ANALYZE_OPTIONS, FILE_OPTIONS } from "../api/options.ts";
import { openBody, releaseBody } from "../api/tensor-body.ts";
import type {
  Analysis,
  FileOperation,
  RawOptions,
  TensorBody,
} from "../api/tensors.ts";
import type { TensorFile } from "../formats/containers/container.ts";
import { readTensorFile } from "../formats/containers/containers.ts";
import {
  analysisOf,
  planFile,
  rawOf,
} from "../formats/operations/file-operation.ts";
import { type Conversion, run } from "../formats/stream/conversion.ts";
import { StreamSource } from "../formats/stream/stream-source.ts";

/** A response that is computed while it is read; `load` loads the kernels. Errors: as the edge's route */
export async function convert(
  operation: FileOperation["operation"],
  body: TensorBody,
  options: unknown,
  load: () => Promise<unknown>,
): Promise<Response> {
  const told = await releasing(body, () =>
    checkOptions<Options>(FILE_OPTIONS[operation], options),
  );
  const request = { operation, options: told } as FileOperation;
  const { source, made } = await opened(body, told, load, (file) =>
    planFile(file, request),
  );
  return new Response(streamOf(made, source), {
    headers: {
      "Content-Type": "application/octet-stream",
      "Content-Length": String(made.totalBytes),
    },
  });
}

export async function analyzeWhole(
  body: TensorBody,
  options: unknown,
  load: () => Promise<unknown>,
): Promise<Analysis> {
  const { told, plan } = await releasing(body, () => {
    const told = checkOptions(ANALYZE_OPTIONS, options);
    return { told, plan: analysisOf(told) };
  });
  const { source, made } = await opened(body, told, load, plan);
  // There is no output; iterating only runs the analysis.
  for await (const _ of chunksOf(made.conversion, source));
  return made.report();
}

/** The result of `check`; if it throws, the body is released. */
async function releasing<T>(body: TensorBody, check: () => T): Promise<T> {
  try {
    return check();
  } catch (error) {
    await releaseBody(body);
    throw error;
  }
}

/** Reads the body's header and passes it to `make`. On an error, the body is cancelled. */
async function opened<T>(
  body: TensorBody,
  options: RawOptions,
  load: () => Promise<unknown>,
  make: (file: TensorFile) => T,
): Promise<{ source: StreamSource; made: T }> {
  const { stream, bytes } = openBody(body);
  const source = new StreamSource(stream);
  try {
    await load();
    const file = await readTensorFile(source, bytes, rawOf(options));
    return { source, made: make(file) };
  } catch (error) {
    await source.cancel(error);
    throw error;
  }
}

/** All of the output; the source is cancelled at the end and on failure. */
async function* chunksOf(
  conversion: Conversion,
  source: StreamSource,
): AsyncGenerator<Uint8Array> {
  try {
    yield* run(conversion, source);
    await source.expectEnd();
  } finally {
    await source.cancel();
  }
}

/** Computed on demand, a chunk per read. */
function streamOf(
  conversion: Conversion,
  source: StreamSource,
): ReadableStream<Uint8Array> {
  const chunks = chunksOf(conversion, source);
  return new ReadableStream(
    {
      async pull(controller) {
        const { value, done } = await chunks.next();
        if (done) controller.close();
        // The next chunk may overwrite it.
        else controller.enqueue(value.slice());
      },
      cancel: (reason) => source.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}
