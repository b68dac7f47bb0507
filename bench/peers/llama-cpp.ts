/**
 * llama.cpp on one thread, by node-llama-cpp: the next token of a text of 64, of a GGUF with the tensors that our
 * decoder has, in f32 or in MXFP4. Keys and values are f16, and its attention is the faster one: its defaults.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SCHEME_PRESETS } from "../../src/api/presets.ts";
import type { ModelShape } from "../../src/api/run-config.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { writeGgufHead } from "../../src/formats/containers/gguf-writer.ts";
import { planQuantize } from "../../src/formats/operations/quantize-file.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { run } from "../../src/formats/stream/conversion.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import type { WeightFormat } from "../../src/kernels/decode.ts";
import { gpt2Gguf } from "../../test/support/gguf-checkpoint.ts";
import { HAS_LLAMA_CPP, openModel } from "../../test/support/llama-cpp.ts";
import type { Clock } from "../benchmark.ts";

type Sequence = Awaited<ReturnType<typeof openModel>>["sequence"];

/** One model at a time lies in memory. */
let open:
  { key: string; sequence: Sequence; close(): Promise<void> } | undefined;

/** The clock of a model's next token behind `past` of them. */
export function prepareNextToken(
  shape: ModelShape,
  format: WeightFormat,
  past: number,
): Clock | undefined {
  if (!HAS_LLAMA_CPP) return undefined;
  const key = `${format} ${JSON.stringify(shape)}`;
  return async (iterations) => {
    if (open?.key !== key) {
      await open?.close();
      open = { key, ...(await load(shape, format, past)) };
    }
    const { sequence } = open;
    let seconds = 0;
    for (let i = 0; i < iterations; i++) {
      const began = performance.now();
      await sequence.controlledEvaluate([
        [past, { generateNext: { token: true } }],
      ]);
      seconds += (performance.now() - began) / 1000;
      await sequence.eraseContextTokenRanges([{ start: past, end: past + 1 }]);
    }
    return seconds;
  };
}

async function load(shape: ModelShape, format: WeightFormat, past: number) {
  const folder = mkdtempSync(join(tmpdir(), "mxfp4-edge-bench-llama-"));
  const path = join(folder, "model.gguf");
  const made = plainGguf(shape);
  writeFileSync(path, format === "f32" ? made : await inMxfp4(made));
  const { sequence, close } = await openModel(path, past + 8);
  rmSync(folder, { recursive: true });
  await sequence.controlledEvaluate(
    Array.from({ length: past }, (_, token) => [token, {}] as [number, object]),
  );
  return { sequence, close };
}

/** What the weights are makes no difference to the time: they are one number. */
function plainGguf(shape: ModelShape): Uint8Array<ArrayBuffer> {
  const { pairs, parameters } = gpt2Gguf(shape);
  const { head, dataBytes } = writeGgufHead(
    pairs,
    parameters.map(({ tensor }) => tensor),
  );
  const file = new Uint8Array(head.length + dataBytes);
  file.set(head);
  const values = new Float32Array(dataBytes / 4).fill(0.01);
  file.set(new Uint8Array(values.buffer), head.length);
  return file;
}

async function inMxfp4(plain: Uint8Array): Promise<Uint8Array> {
  const source = sourceOf(plain);
  const file = await readTensorFile(source, plain.length);
  const conversion = planQuantize(file, {
    scheme: { ...DEFAULT_SCHEME, ...SCHEME_PRESETS.ggml },
    output: "mxfp4",
    selection: { include: [], exclude: [] },
  });
  const chunks: Uint8Array[] = [];
  for await (const chunk of run(conversion, source)) chunks.push(chunk.slice());
  const bytes = chunks.reduce((sum, { length }) => sum + length, 0);
  return concatenate(bytes, chunks);
}
