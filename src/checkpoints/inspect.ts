/**
 * Inspects a checkpoint from its headers: each tensor's role and its bytes now and in MXFP4, the formats of its
 * tensors, and for each loader what it can load in MXFP4, and why not the rest.
 */
import { AppError } from "../api/errors.ts";
import { TARGETS } from "../api/scheme.ts";
import type { Dtype } from "../formats/dtype.ts";
import { decideRoles } from "../formats/roles/roles.ts";
import type { Kind, Role } from "../formats/roles/role.ts";
import type { TensorHead } from "../formats/tensor.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { configProblems } from "./config-sizes.ts";
import { type LonePart, loneParts } from "./lone-parts.ts";
import { viewFloat8 } from "./float8-parts.ts";
import {
  findPacked,
  type PackedTensor,
} from "../formats/blocks/packed-tensors.ts";
import type { Float8Tensor } from "../formats/blocks/fp8-scales.ts";
import { SAFETENSORS } from "../formats/containers/safetensors-file.ts";
import type { RecognizedFormat } from "../formats/blocks/foreign-formats.ts";
import { formatsIn } from "./formats-in.ts";
import {
  type LoaderReport,
  reportAsItIs,
  reportFor,
  reportForGguf,
} from "./loader-reports.ts";
import { headBytes, packedBytes } from "./shards.ts";

export type InspectedTensor = {
  name: string;
  file: string;
  dtype: string;
  shape: readonly number[];
  role: Role;
  kind: Kind;
  packed: boolean;
  reason: string;
  bytes: number;
  /** After quantizing; unchanged for tensors that are kept. */
  mxfp4Bytes: number;
};

export type Inspection = {
  modelType: string | null;
  tensors: InspectedTensor[];
  dtypes: Record<string, { tensors: number; bytes: number }>;
  formats: RecognizedFormat[];
  bytes: number;
  mxfp4Bytes: number;
  loaders: LoaderReport[];
};

export function inspect(checkpoint: Checkpoint): Inspection {
  const { tensors, config } = checkpoint;
  const { packed, float8, wholes, problem } = held(checkpoint);
  const lone = loneParts(tensors, packed);
  const decisions = decideRoles(wholes, config);
  const byName = new Map(wholes.map(({ name }, i) => [name, decisions[i]!]));
  const parts = partsOf(packed, float8, lone);
  const inspected = tensors.map((tensor): InspectedTensor => {
    const { name, file, dtype, shape } = tensor;
    const bytes = headBytes(tensor);
    const part = parts.get(name);
    if (part !== undefined) {
      const { reason, mxfp4Bytes = bytes } = part;
      const stays = { role: "keep", kind: "other", packed: false } as const;
      return { name, file, dtype, shape, ...stays, reason, bytes, mxfp4Bytes };
    }
    const decision = byName.get(name)!;
    const { role, kind, packed: isPacked, reason } = decision;
    const mxfp4Bytes = isPacked ? packedBytes(tensor) : bytes;
    const own = { name, file, dtype, shape, role, kind, packed: isPacked };
    return { ...own, reason, bytes, mxfp4Bytes };
  });
  const modelType = config?.model_type;
  const problems = [
    ...configProblems(checkpoint),
    ...lone.slice(0, 1).map((each) => each.problem),
    ...(problem === undefined ? [] : [problem]),
  ];
  return {
    modelType: typeof modelType === "string" ? modelType : null,
    tensors: inspected,
    dtypes: dtypesOf(inspected),
    formats: formatsIn(tensors, config),
    bytes: total(inspected, "bytes"),
    mxfp4Bytes: total(inspected, "mxfp4Bytes"),
    loaders: [
      ...TARGETS.map((target) =>
        packed.length > 0
          ? reportAsItIs(target, packed, wholes, checkpoint)
          : reportFor(target, wholes, config),
      ),
      reportForGguf(checkpoint),
    ].map((report) => refusedBy(problems, report)),
  };
}

/** No loader accepts a config.json with impossible sizes, or weights of which a part is missing. */
function refusedBy(
  problems: readonly string[],
  report: LoaderReport,
): LoaderReport {
  if (problems.length === 0) return report;
  const refusals = [...new Set([...problems, ...report.refusals])];
  return { ...report, loads: false, refusals };
}

type Held = {
  packed: readonly PackedTensor[];
  float8: readonly Float8Tensor[];
  /** Tensors that are not parts of others; FP8 as the floats to which it decodes. */
  wholes: readonly TensorHead<Dtype>[];
  /** Why parts do not fit together. */
  problem?: string;
};

/** Quantized tensors and FP8, unless their parts do not fit together. */
function held({ tensors, recorded, config }: Checkpoint): Held {
  try {
    const metadata = new Map<string, string>();
    const file = { target: SAFETENSORS, tensors, metadata };
    const { packed } = recorded === undefined ? findPacked(file) : NONE;
    const taken = new Set<TensorHead>(packed.flatMap(({ parts }) => parts));
    const left = tensors.filter((tensor) => !taken.has(tensor));
    const { tensors: wholes, float8 } = viewFloat8(left, config);
    return { packed, float8: [...float8.values()], wholes };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { packed: [], float8: [], wholes: tensors, problem: error.message };
  }
}
const NONE = { packed: [] as PackedTensor[] };

/** Parts of other tensors, with a reason and their bytes after quantizing. */
function partsOf(
  packed: readonly PackedTensor[],
  float8: readonly Float8Tensor[],
  lone: readonly LonePart[],
): Map<string, { reason: string; mxfp4Bytes?: number }> {
  const parts = new Map<string, { reason: string; mxfp4Bytes?: number }>();
  for (const { layout, parts: own } of packed)
    for (const [i, part] of own.entries()) {
      const format = layout.format.toUpperCase();
      const reason = i === 0 ? `${format} already` : `scales of ${format}`;
      parts.set(part.name, { reason });
    }
  for (const { scale, inputScale } of float8)
    for (const each of [scale?.tensor, inputScale])
      if (each)
        parts.set(each.name, {
          reason: "a scale of FP8, which goes with its weight",
          mxfp4Bytes: 0,
        });
  for (const { name } of lone)
    parts.set(name, { reason: "a part of a weight, whose other is not there" });
  return parts;
}

export function total(
  tensors: readonly InspectedTensor[],
  key: "bytes" | "mxfp4Bytes",
): number {
  return tensors.reduce((sum, tensor) => sum + tensor[key], 0);
}

export function dtypesOf(
  tensors: readonly InspectedTensor[],
): Inspection["dtypes"] {
  const dtypes: Inspection["dtypes"] = {};
  for (const { dtype, bytes } of tensors) {
    const own = (dtypes[dtype] ??= { tensors: 0, bytes: 0 });
    own.tensors++;
    own.bytes += bytes;
  }
  return dtypes;
}
