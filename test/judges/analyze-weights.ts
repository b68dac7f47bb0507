/**
 * The tables of docs/analyze.md: every preset, rotations and stochastic rounding on the weights of
 * published models. `npx node test/judges/analyze-weights.ts` prints them, after `npm run build`.
 */
import { pathToFileURL } from "node:url";
import { SCHEME_PRESETS } from "../../src/api/presets.ts";
import type { Analysis } from "../../src/api/tensors.ts";
import { planAnalysis } from "../../src/formats/operations/analyze-file.ts";
import type { NamedScheme } from "../../src/formats/operations/judge.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { run } from "../../src/formats/stream/conversion.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { writeSafetensors } from "../../src/formats/containers/safetensors.ts";
import type { Scheme } from "../../src/api/scheme.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import type { Matrix } from "./onnx-weights.ts";
import { MODELS, modelWeights, NOT_LEARNED } from "./weight-models.ts";
import {
  type AnalyzedModel,
  kindTable,
  kurtosisTable,
  modelTable,
  schemeTable,
} from "./weight-tables.ts";

const SCHEMES: NamedScheme[] = [
  ...Object.entries(SCHEME_PRESETS),
  ["scale=mse", { scale: "mse" }],
  ["hadamard=32", { hadamard: 32 }],
  ["hadamard=64", { hadamard: 64 }],
  ["scale=mse;hadamard=32", { scale: "mse", hadamard: 32 }],
  ["rounding=stochastic", { rounding: "stochastic", scale: "rceil" }],
].map(([name, scheme]) => ({
  name: name as string,
  scheme: { ...DEFAULT_SCHEME, ...(scheme as Partial<Scheme>) },
}));

/** The tables as Markdown. The kernels must be loaded. */
export async function weightTables(): Promise<string[]> {
  const models: AnalyzedModel[] = [];
  for (const model of MODELS) {
    const matrices = modelWeights(model);
    const kinds = new Map(matrices.map(({ name, kind }) => [name, kind]));
    const { tensors, total } = await analyze(matrices);
    models.push({
      title: model.title,
      total,
      matrices: tensors.map((each) => ({
        ...each,
        kind: kinds.get(each.name)!,
      })),
    });
  }
  return [modelTable, kurtosisTable, kindTable, schemeTable].map((table) =>
    table(models),
  );
}

async function analyze(matrices: readonly Matrix[]): Promise<Analysis> {
  const file = writeSafetensors(
    matrices.map(({ name, shape, values }) => ({
      name,
      shape,
      dtype: "F32" as const,
      chunks: [new Uint8Array(values.buffer)],
    })),
    new Map(),
  );
  const source = sourceOf(concatenate(file.bytes, file.chunks));
  const input = await readTensorFile(source, file.bytes);
  // A pattern that matches nothing is refused, and few models have such a tensor.
  const suffix = NOT_LEARNED.slice(1);
  const hasAny = matrices.some(({ name }) => name.endsWith(suffix));
  // All of them, whatever role their names tell.
  const selection = { include: ["*"], exclude: hasAny ? [NOT_LEARNED] : [] };
  const { conversion, report } = planAnalysis(input, SCHEMES, selection);
  for await (const _ of run(conversion, source));
  return report();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  loadKernelsFile();
  console.log((await weightTables()).join("\n\n"));
}
