/** Converts a file to another, with the kernels in this process or on an edge. */
import pc from "picocolors";
import type { FileOperation, RawOptions } from "../api/tensors.ts";
import { bytesOf } from "../client/broken-off.ts";
import { Mxfp4Edge } from "../client/mxfp4-edge.ts";
import { run } from "../formats/stream/conversion.ts";
import { planFile } from "../formats/operations/file-operation.ts";
import {
  KeptValues,
  valuesOf,
} from "../formats/operations/nonfinite-values.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { WHOLE_BYTES } from "../client/parts-upload.ts";
import { byteSize } from "../api/byte-size.ts";
import { checkApart } from "./apart.ts";
import { Bar } from "./bar.ts";
import { convertByJob } from "./convert-by-job.ts";
import { addressOf } from "./edge-arguments.ts";
import type { Arguments } from "./file-arguments.ts";
import { fileBlob } from "./files.ts";
import { checkNamedFor, type OutputKind } from "./output-kind.ts";
import {
  checkOutputOrStdout,
  checkThere,
  STANDARD,
  withInput,
  writeOutput,
} from "./stdio.ts";
import { tell } from "./tell.ts";
import { openTensorFile } from "./open-tensor-file.ts";

type Request = Extract<
  FileOperation,
  { operation: "quantize" | "dequantize" | "repack" }
>;

/** Executes `request` on the file of `args`, and reports the result on stderr. */
export async function convertFile(
  args: Arguments,
  request: Request,
): Promise<void> {
  const { file, output, url } = args as Record<string, string | undefined>;
  checkOutputOrStdout(output!, args.force === true);
  if (file !== STANDARD && output !== STANDARD) checkApart(file!, output!);
  const bar = new Bar(request.operation);
  const [from, to] = await withInput(file!, async (path) => {
    checkNamedFor(output!, await kindOf(path, request));
    return url === undefined
      ? convertHere(path, output!, request, bar)
      : convertThere(edgeOf(args), path, output!, request, bar);
  });
  bar.end();
  const ratio = from > 0 ? ` (${((100 * to) / from).toFixed(1)} %)` : "";
  const { seconds } = bar;
  tell(
    args.json === true,
    `${pc.bold(output!)}: ${byteSize(from)} → ${byteSize(to)}${ratio} in ${seconds.toFixed(1)} s`,
    { output, bytesRead: from, bytesWritten: to, seconds },
  );
}

/** What a file becomes: GGUF stays GGUF, everything else becomes safetensors. */
async function kindOf(path: string, { options }: Request): Promise<OutputKind> {
  const isRaw = ((options ?? {}) as RawOptions).raw !== undefined;
  checkThere(path);
  const head = await (await fileBlob(path)).slice(0, 4).text();
  return head === "GGUF" && !isRaw ? "a GGUF" : "safetensors";
}

/** A line per tensor with values that were kept although not finite. */
export function tellKept({ tensors }: KeptValues): void {
  for (const [tensor, { values, first }] of tensors)
    console.error(
      `kept: ${values} values of "${tensor}" that are not finite, or overflow; the first is element ${first}`,
    );
}

export function edgeOf(args: Arguments): Mxfp4Edge {
  return new Mxfp4Edge({ ...addressOf(args), patienceMs: 5_000 });
}

async function convertHere(
  file: string,
  output: string,
  request: Request,
  bar: Bar,
): Promise<[from: number, to: number]> {
  loadKernelsFile();
  const { input, source, paths } = await openTensorFile(
    file,
    (request.options ?? {}) as RawOptions,
    (bytes) => bar.begin(bytes),
    (bytes) => bar.add(bytes),
  );
  try {
    if (output !== STANDARD) for (const path of paths) checkApart(path, output);
    const kept = new KeptValues();
    const values = valuesOf(request.options?.nonfinite, kept);
    const conversion = planFile(input, request, values);
    const bytes = await writeOutput(output, run(conversion, source));
    bar.end();
    tellKept(kept);
    return [source.bytes, bytes];
  } finally {
    await source.close();
  }
}

async function convertThere(
  edge: Mxfp4Edge,
  file: string,
  output: string,
  request: Request,
  bar: Bar,
): Promise<[from: number, to: number]> {
  const blob = await fileBlob(file);
  // A pipe cannot receive a part again.
  if (blob.size > WHOLE_BYTES && output !== STANDARD) {
    const end = await convertByJob(edge, file, output, request);
    return [end.totalInputBytes!, end.outputBytes];
  }
  const response = await sendTo(edge, blob, request);
  bar.begin(Number(response.headers.get("Content-Length")));
  return [blob.size, await writeOutput(output, told(response, bar))];
}

function sendTo(
  edge: Mxfp4Edge,
  blob: Blob,
  request: Request,
): Promise<Response> {
  switch (request.operation) {
    case "quantize":
      return edge.quantize(blob, request.options);
    case "dequantize":
      return edge.dequantize(blob, request.options);
    case "repack":
      return edge.repack(blob, request.options ?? {});
  }
}

async function* told(response: Response, bar: Bar): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytesOf(response)) {
    bar.add(chunk.length);
    yield chunk;
  }
}
