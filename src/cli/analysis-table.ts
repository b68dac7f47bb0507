/** An analysis as a table for display. */
import type {
  Analysis,
  LoaderAdvice,
  PassedOver,
  SchemeFigures,
  TensorFigures,
} from "../api/tensors.ts";

import { alignedRows } from "./aligned-rows.ts";

const HEAD = [
  "tensor",
  "scheme",
  "SQNR dB",
  "MSE",
  "cosine",
  "max error",
  "clipped",
  "zeroed",
  "NaN",
];

/** Per line; --json lists all. */
const MAX_NAMES = 8;

/** One row per tensor and scheme; if there are several schemes, the recommended one is marked. */
export function renderAnalysis(analysis: Analysis): string {
  const { tensors, passedOver, total, rule, loaders, refused } = analysis;
  const rows = tensors.flatMap((tensor) =>
    rowsOf(`${tensor.name} [${tensor.shape.join(", ")}]`, tensor),
  );
  const isOne = tensors.length === 1;
  const all = isOne ? rows : [...rows, ...rowsOf("all tensors", total)];
  return [
    alignedRows([HEAD, ...all], [0, 1]),
    ...(total.schemes.length > 1 ? [`* ${rule}`] : []),
    ...refused.map(({ scheme, reason }) => `left out: ${scheme}: ${reason}`),
    ...renderPassedOver(passedOver),
    ...loaders.map(renderAdvice),
  ].join("\n");
}

function renderAdvice({
  loader,
  tensors,
  recommended,
  refusal,
}: LoaderAdvice): string {
  return refusal === null
    ? `for ${loader}: ${recommended ?? "any scheme"}, over its ${tensors} tensors in MXFP4`
    : `for ${loader}: nothing; ${refusal}`;
}

/** A line per dtype and reason: `passed over: 2 Q4_0, quantized already: a, b`. */
function renderPassedOver(passedOver: readonly PassedOver[]): string[] {
  const groups = new Map<string, string[]>();
  for (const { name, dtype, reason } of passedOver) {
    const group = `${dtype}, ${reason}`;
    const names = groups.get(group) ?? [];
    names.push(name);
    groups.set(group, names);
  }
  return Array.from(groups, ([group, names]) => {
    const shown = names.slice(0, MAX_NAMES).join(", ");
    const more = names.length > MAX_NAMES ? ", …" : "";
    return `passed over: ${names.length} ${group}: ${shown}${more}`;
  });
}

function rowsOf(
  name: string,
  { schemes, recommended }: TensorFigures,
): string[][] {
  return schemes.map((figures, i) => {
    const isBest = schemes.length > 1 && figures.scheme === recommended;
    const scheme = `${figures.scheme}${isBest ? " *" : ""}`;
    return [i === 0 ? name : "", scheme, ...columns(figures)];
  });
}

function columns(figures: SchemeFigures): string[] {
  const { sqnrDb, mse, cosine, maxError, clipped, zeroed, nan } = figures;
  return [
    sqnrDb === null ? "-" : sqnrDb.toFixed(2),
    mse === null ? "-" : mse.toExponential(2),
    cosine === null ? "-" : cosine.toFixed(5),
    maxError === null ? "-" : maxError.toPrecision(3),
    ...[clipped, zeroed, nan].map((share) => `${(100 * share).toFixed(2)} %`),
  ];
}
