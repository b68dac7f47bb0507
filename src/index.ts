/**
 * The library, `mxfp4-edge`: what the tensor routes do, in this process. In Node, browsers and Workers.
 *
 *   const answer = await quantize(await openAsBlob("model.safetensors"), { rounding: "stochastic" });
 *   await writeFile("model-mxfp4.safetensors", answer.body);
 *
 * Options and answers are those of the client in `mxfp4-edge/client`: a Response whose body is computed
 * as it is read. Same input, same options, same bytes, here and there.
 */
import kernelModule from "../build/kernels.wasm";
import type {
  Analysis,
  AnalyzeOptions,
  DequantizeOptions,
  FileOperation,
  HadamardOptions,
  QuantizeOptions,
  RawOptions,
} from "./api/tensors.ts";
import { planAnalysis } from "./formats/operations/analyze-file.ts";
import { type Conversion, run } from "./formats/stream/conversion.ts";
import { type Input, readInput } from "./formats/containers/input.ts";
import { namedSchemes } from "./formats/operations/named-schemes.ts";
import {
  planFile,
  rawOf,
  schemeOf,
  selectionOf,
} from "./formats/operations/plan.ts";
import { StreamSource } from "./formats/stream/stream-source.ts";
import { loadImported } from "./kernels/load-imported.ts";

export { AppError, type ErrorCode } from "./api/errors.ts";
export type * from "./api/tensors.ts";

/** A file of tensors. A Blob may be a file that is not in memory (`fs.openAsBlob`). */
export type TensorBody =
  | Uint8Array<ArrayBuffer>
  | Blob
  | { stream: ReadableStream<Uint8Array>; bytes: number };

/** The file (safetensors, .npy, GGUF, or raw) with its float tensors in MXFP4. Throws an AppError. */
export function quantize(
  body: TensorBody,
  options: QuantizeOptions = {},
): Promise<Response> {
  return convert(body, { operation: "quantize", options }, options);
}

/** The file with its MXFP4 tensors as floats. */
export function dequantize(
  body: TensorBody,
  options: DequantizeOptions = {},
): Promise<Response> {
  return convert(body, { operation: "dequantize", options }, {});
}

/**
 * The file with its float tensors rotated by the blockwise random Hadamard transform, or back. GGUF is
 * refused: its readers would not rotate back.
 */
export function hadamard(
  body: TensorBody,
  options: HadamardOptions = {},
): Promise<Response> {
  return convert(body, { operation: "hadamard", options }, options);
}

/**
 * What quantizing would do to each tensor, by one scheme or several, and which tensors of the file it
 * would pass over.
 */
export async function analyze(
  body: TensorBody,
  options: AnalyzeOptions = {},
): Promise<Analysis> {
  const { source, input } = await open(body, options);
  const schemes = namedSchemes(schemeOf(options), options.compare);
  const selection = selectionOf(options);
  const { conversion, report } = planAnalysis(input, schemes, selection);
  // It has no output: this only drives it.
  for await (const _ of run(conversion, source));
  return report();
}

async function convert(
  body: TensorBody,
  request: FileOperation,
  options: RawOptions,
): Promise<Response> {
  const { source, input } = await open(body, options);
  const conversion = planFile(input, request);
  return new Response(streamOf(conversion, source), {
    headers: {
      "Content-Type": "application/octet-stream",
      "Content-Length": String(conversion.totalBytes),
    },
  });
}

async function open(
  body: TensorBody,
  options: RawOptions,
): Promise<{ source: StreamSource; input: Input }> {
  await loadImported(kernelModule);
  const { stream, bytes } = opened(body);
  const source = new StreamSource(stream);
  return { source, input: await readInput(source, bytes, rawOf(options)) };
}

function opened(body: TensorBody): {
  stream: ReadableStream<Uint8Array>;
  bytes: number;
} {
  if ("stream" in body && "bytes" in body && typeof body.bytes === "number")
    return body as { stream: ReadableStream<Uint8Array>; bytes: number };
  const blob =
    body instanceof Blob ? body : new Blob([body as Uint8Array<ArrayBuffer>]);
  return { stream: blob.stream(), bytes: blob.size };
}

/** Computed on demand: a chunk when the reader wants one. */
function streamOf(
  conversion: Conversion,
  source: StreamSource,
): ReadableStream<Uint8Array> {
  const chunks = run(conversion, source);
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
