/** Files of tensors from and to streams, in this process. */
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

/** An answer that is computed as it is read; `load` gets the kernels. Errors: what the edge's route would refuse */
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
  // It has no output: this only drives it.
  for await (const _ of chunksOf(made.conversion, source));
  return made.report();
}

/** What `check` makes of the options; a refusal takes the body along. */
async function releasing<T>(body: TensorBody, check: () => T): Promise<T> {
  try {
    return check();
  } catch (error) {
    await releaseBody(body);
    throw error;
  }
}

/** The body with its head read, and what `make` makes of it. What is refused is read no further. */
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

/** All of the output; the source is given back at the end, and at a failure. */
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

/** Computed on demand: a chunk when the reader wants one. */
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
        // It may be overwritten by the next.
        else controller.enqueue(value.slice());
      },
      cancel: (reason) => source.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}
