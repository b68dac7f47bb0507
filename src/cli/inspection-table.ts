/** An inspection as a person reads it: tensors of a kind in one line, then what each loader takes. */
import pc from "picocolors";
import type { InspectedTensor, Inspection } from "../checkpoints/inspect.ts";

import { size } from "./bar.ts";
import { alignedRows } from "./aligned-rows.ts";

const HEAD = ["tensor", "dtype", "shape", "role", "bytes", "in MXFP4", "why"];

export function renderInspection(inspection: Inspection): string {
  const { tensors, formats, bytes, mxfp4Bytes, loaders } = inspection;
  const groups = Map.groupBy(tensors, keyOf);
  const rows = [...groups.values()].map(rowOf);
  const model = inspection.modelType ?? "a model without config.json";
  return [
    `${pc.bold(model)}: ${tensors.length} tensors, ${size(bytes)}, in MXFP4 ${size(mxfp4Bytes)}`,
    "",
    alignedRows([HEAD, ...rows], [0, 1, 2, 3, 6]),
    ...(formats.length > 0 ? [""] : []),
    ...formats.map(
      ({ format, weights, example }) =>
        `${format}: ${weights} weights, as ${example}`,
    ),
    "",
    ...loaders.flatMap(({ loader, packedTensors, bytes: own, refusals }) => [
      `${pc.bold(loader)}: ${packedTensors} packed, ${size(own)}`,
      ...refusals.map((refusal) => `  ${refusal}`),
    ]),
  ].join("\n");
}

function withoutNumbers(name: string): string {
  return name.replace(/(?<=\.|^)\d+(?=\.|$)/g, "*");
}

/** Layers that differ in their number alone are one line. */
function keyOf({ name, dtype, shape, reason }: InspectedTensor): string {
  return [withoutNumbers(name), dtype, shape.join(), reason].join("\n");
}

function rowOf(group: readonly InspectedTensor[]): string[] {
  const { name, dtype, shape, role, reason } = group[0]!;
  const sum = (key: "bytes" | "mxfp4Bytes") =>
    group.reduce((all, each) => all + each[key], 0);
  const shown =
    group.length === 1 ? name : `${withoutNumbers(name)} × ${group.length}`;
  return [
    shown,
    dtype,
    shape.join(" × "),
    role,
    size(sum("bytes")),
    size(sum("mxfp4Bytes")),
    reason,
  ];
}
