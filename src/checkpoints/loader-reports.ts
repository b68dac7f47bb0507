/** For each loader, which tensors of a checkpoint it could load in MXFP4, and why not the rest. */
import { AppError } from "../api/errors.ts";
import type { Loader, Target } from "../api/scheme.ts";
import type { PackedTensor } from "../formats/blocks/packed-tensors.ts";
import type { Dtype } from "../formats/dtype.ts";
import { decideRoles } from "../formats/roles/roles.ts";
import type { TensorHead } from "../formats/tensor.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { decidedBytes, decideGgufDirectory } from "./gguf/decide-gguf.ts";
import { type StoredWeight, whyNotLoaded } from "./loaded-layouts.ts";
import { quantizedConfig } from "./quantization-config.ts";
import { bytesOfHeads, headBytes, packedBytes } from "./shards.ts";
import { decideFor, LOADED_FORMAT } from "./targets.ts";

export type LoaderReport = {
  loader: Loader;
  /** Whether a directory for it has any quantized weight. */
  loads: boolean;
  /** Reasons why not, or why only in part. */
  refusals: string[];
  packedTensors: number;
  /** Bytes of the whole directory if made for this loader. */
  bytes: number;
};

/** For a quantized directory: whether the loader loads it as it is. */
export function reportAsItIs(
  loader: Target,
  packed: readonly PackedTensor[],
  wholes: readonly TensorHead<Dtype>[],
  { tensors, config }: Checkpoint,
): LoaderReport {
  const heads = [
    ...packed.map(({ name, shape }) => ({
      name,
      dtype: "BF16" as const,
      shape,
    })),
    ...wholes,
  ];
  const decisions = decideRoles(heads, config);
  const weights = heads.map((head, i): StoredWeight => ({
    head,
    decision: decisions[i]!,
    layout: i < packed.length ? packed[i]!.layout.name : null,
  }));
  const refusals = whyNotLoaded(loader, weights, config);
  const format = packed.find(({ layout }) => layout.format !== LOADED_FORMAT);
  if (format)
    refusals.push(`${format.name} is in ${format.layout.format}, no MXFP4`);
  const loads = refusals.length === 0;
  return {
    loader,
    loads,
    refusals,
    packedTensors: loads ? packed.length : 0,
    bytes: bytesOfHeads(tensors),
  };
}

/** For the single file made for llama.cpp. */
export function reportForGguf(checkpoint: Checkpoint): LoaderReport {
  const loader = "llama.cpp";
  const none = { include: [], exclude: [] };
  try {
    const { tensors } = decideGgufDirectory(checkpoint, {
      selection: none,
      output: "q8_0",
      types: [],
    });
    const packedTensors = tensors.filter(
      ({ becomes }) => becomes === "MXFP4",
    ).length;
    return {
      loader,
      loads: packedTensors > 0,
      refusals:
        packedTensors > 0 ? [] : ["no matrix of floats that can be packed"],
      packedTensors,
      bytes: tensors.reduce((sum, tensor) => sum + decidedBytes(tensor), 0),
    };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const bytes = bytesOfHeads(checkpoint.tensors);
    const refusals = [error.message];
    return { loader, loads: false, refusals, packedTensors: 0, bytes };
  }
}

export function reportFor(
  loader: Target,
  heads: readonly TensorHead<Dtype>[],
  config: Checkpoint["config"],
): LoaderReport {
  const decisions = decideRoles(heads, config);
  const made = decideFor(loader, heads, decisions, config);
  const packedTensors = made.filter(({ packed }) => packed).length;
  const bytes = heads.reduce(
    (sum, head, i) =>
      sum + (made[i]!.packed ? packedBytes(head) : headBytes(head)),
    0,
  );
  const refusals = new Map<string, string[]>();
  heads.forEach(({ name }, i) => {
    if (!decisions[i]!.packed || made[i]!.packed) return;
    const reason = made[i]!.reason.slice(decisions[i]!.reason.length + 2);
    refusals.set(reason, [...(refusals.get(reason) ?? []), name]);
  });
  const told = [...refusals].map(
    ([reason, names]) => `${reason}: ${shortened(names)}`,
  );
  if (packedTensors === 0 && told.length === 0)
    told.push("no weight of a linear layer that can be packed");
  try {
    quantizedConfig(loader, heads, made, config);
  } catch (error) {
    told.push((error as Error).message);
  }
  return {
    loader,
    loads: packedTensors > 0,
    refusals: told,
    packedTensors,
    bytes,
  };
}

function shortened(names: readonly string[]): string {
  const [first] = names;
  return names.length === 1 ? first! : `${first} and ${names.length - 1} more`;
}
