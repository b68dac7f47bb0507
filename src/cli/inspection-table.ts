/** An inspection for display: similar tensors in one line, then what each loader supports. */
import pc from "picocolors";
import type { Inspection } from "../checkpoints/inspect.ts";
import {
  type InspectedGroup,
  inspectedGroups,
} from "../checkpoints/inspection-groups.ts";
import { byteSize } from "../api/byte-size.ts";
import { alignedRows } from "./aligned-rows.ts";

const HEAD = ["tensor", "dtype", "shape", "role", "bytes", "in MXFP4", "why"];

export function renderInspection(inspection: Inspection): string {
  const { tensors, formats, bytes, mxfp4Bytes, loaders } = inspection;
  const rows = inspectedGroups(tensors).map(rowOf);
  const model = inspection.modelType ?? "a model without config.json";
  return [
    `${pc.bold(model)}: ${tensors.length} tensors, ${byteSize(bytes)}, in MXFP4 ${byteSize(mxfp4Bytes)}`,
    "",
    alignedRows([HEAD, ...rows], [0, 1, 2, 3, 6]),
    ...(formats.length > 0 ? [""] : []),
    ...formats.map(
      ({ format, weights, example }) =>
        `${format}: ${weights} weights, as ${example}`,
    ),
    "",
    ...loaders.flatMap(({ loader, packedTensors, bytes: own, refusals }) => [
      `${pc.bold(loader)}: ${packedTensors} packed, ${byteSize(own)}`,
      ...refusals.map((refusal) => `  ${refusal}`),
    ]),
  ].join("\n");
}

function rowOf(group: InspectedGroup): string[] {
  const { name, tensors, dtype, shape, role, bytes, mxfp4Bytes, reason } =
    group;
  return [
    tensors === 1 ? name : `${name} × ${tensors}`,
    dtype,
    shape.join(" × "),
    role,
    byteSize(bytes),
    byteSize(mxfp4Bytes),
    reason,
  ];
}
