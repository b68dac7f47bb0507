/**
 * FP8 for llama.cpp: the GGUF of the floats that codes and scales are, wherever rows go and however experts are
 * stacked.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { Analysis } from "../../src/api/tensors.ts";
import { planFolderAnalysis } from "../../src/checkpoints/analyze-plan.ts";
import { inspect } from "../../src/checkpoints/inspect.ts";
import { readFolder } from "../../src/checkpoints/read-heads.ts";
import { readInOrder } from "../../src/checkpoints/tensor-reads.ts";
import { quantizeGguf } from "../../src/cli/quantize-gguf.ts";
import { localFolder } from "../../src/cli/ranged-files.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { run } from "../../src/formats/stream/conversion.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import {
  DECODERS,
  decoderShapes,
  randomValues,
  writeDirectory,
} from "../support/family-models.ts";
import { writeFloat8 } from "../support/float8-checkpoint.ts";

const FIXTURES = join(import.meta.dirname, "../fixtures/hf");
/** Rows put beside each other; turned; turned, and gates between ups; experts apart; in one, a half above the other; without scales. */
const MODELS = ["llama", "gpt2", "gpt_oss", "mixtral", "stacked", "llama-raw"];

let folder: string;
const at = (name: string) => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-float8-gguf-"));
  vi.spyOn(console, "error").mockImplementation(() => {});
  const config = DECODERS.mixtral!;
  const shapes = decoderShapes(config);
  writeDirectory(at("mixtral"), config, randomValues(shapes));
  const apart = shapes.filter(([name]) => !name.includes(".experts."));
  const stacked: typeof shapes = [0, 1].flatMap((layer): typeof shapes => [
    [`model.layers.${layer}.mlp.experts.gate_up_proj`, 4, 192, 64],
    [`model.layers.${layer}.mlp.experts.down_proj`, 4, 64, 96],
  ]);
  writeDirectory(at("stacked"), config, randomValues([...apart, ...stacked]));
  for (const model of MODELS) {
    const isMade = model === "mixtral" || model === "stacked";
    const isRaw = model.endsWith("-raw");
    const from = isMade ? at(model) : join(FIXTURES, model.replace("-raw", ""));
    writeFloat8(from, at(`${model}-fp8`), at(`${model}-floats`), !isRaw);
  }
});
afterAll(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

async function made(name: string) {
  const to = at(`${name}.gguf`);
  const options = { for: "llama.cpp", rounding: "stochastic" } as const;
  await quantizeGguf({
    from: at(name),
    to,
    asJson: false,
    force: false,
    options,
  });
  const bytes = new Uint8Array(readFileSync(to));
  const file = await readTensorFile(sourceOf(bytes), bytes.length);
  return new Map(
    file.tensors.map(({ name: own, dtype, shape, start, end }) => {
      const { headBytes } = file;
      const data = bytes.subarray(headBytes + start, headBytes + end);
      return [own, { dtype, shape, bytes: Buffer.from(data) }];
    }),
  );
}

async function analyzed(name: string): Promise<Analysis> {
  const folderOf = localFolder(at(name));
  const plan = planFolderAnalysis(await readFolder(folderOf), {
    for: "llama.cpp",
    outputType: "mxfp4",
  });
  const file = await folderOf.open("model.safetensors");
  const files = new Map([["model.safetensors", file]]);
  const { conversion, report } = plan.open(new Map());
  for await (const _ of run(
    conversion,
    readInOrder(plan.reads, files, () => {}),
  ));
  return report();
}

test.each(MODELS)("%s: its tensors and their figures", async (model) => {
  const [own, expected] = [
    await made(`${model}-fp8`),
    await made(`${model}-floats`),
  ];
  expect([...own.keys()]).toEqual([...expected.keys()]);
  let packed = 0;
  for (const [name, tensor] of own) {
    expect(tensor, name).toEqual(expected.get(name));
    if (tensor.dtype === "MXFP4") packed++;
  }
  expect(packed).toBeGreaterThan(5);
  const [report, twin] = [
    await analyzed(`${model}-fp8`),
    await analyzed(`${model}-floats`),
  ];
  expect(report.tensors.some(({ dtype }) => dtype === "F8_E4M3")).toBe(true);
  expect(report.tensors.map((each) => ({ ...each, dtype: "" }))).toEqual(
    twin.tensors.map((each) => ({ ...each, dtype: "" })),
  );
  const { loaders } = inspect(
    await readFolder(localFolder(at(`${model}-fp8`))),
  );
  expect(loaders.at(-1)).toMatchObject({ packedTensors: packed, refusals: [] });
});
