/** A run's parameters as a safetensors file: Hugging Face GPT-2 names and layouts, f32. */
import type { RunConfig } from "../api/types.ts";
import { writeSafetensors } from "../formats/containers/safetensors.ts";
import { compareNames } from "../formats/tensor.ts";
import { modelOf } from "../model/architectures.ts";
import type { Range } from "../model/parameters.ts";

export type CheckpointPlan = {
  /** Of the whole file. */
  bytes: number;
  /** All that stands before the tensors. */
  head: Uint8Array;
  /** Ranges of the flat vector, in the order in which they follow as f32. */
  ranges: Range[];
};

/**
 * The metadata holds what the parameters depend on and nothing else: how a run was sharded leaves
 * no trace, so two runs of one config end in the same bytes.
 */
export function checkpointPlan(
  config: RunConfig,
  step: number,
): CheckpointPlan {
  const { shards: _shards, snapshotSteps: _snapshots, ...essential } = config;
  const { name: _name, ...dataset } = config.dataset;
  const { tensors } = modelOf(config.model).table;
  const sorted = tensors.toSorted((a, b) => compareNames(a.name, b.name));
  const file = writeSafetensors(
    sorted.map(({ name, shape }) => ({
      name,
      shape,
      dtype: "F32" as const,
      chunks: [],
    })),
    new Map([
      // Readers in Python ask for it.
      ["format", "pt"],
      ["mxfp4-edge.config", JSON.stringify({ ...essential, dataset })],
      ["mxfp4-edge.step", String(step)],
    ]),
  );
  const [head] = file.chunks;
  return {
    bytes: file.bytes,
    head: head!,
    ranges: sorted.map(({ offset, length }) => ({ start: offset, length })),
  };
}
