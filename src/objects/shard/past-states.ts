/** A shard's full state at earlier steps: from kept snapshots, and for the first step from the seed. */
import { initialParameters } from "../../model/parameters.ts";
import { type ShardGeometry, stateParts } from "../../training/shard-state.ts";
import type { SnapshotStore } from "./snapshot-store.ts";
import { ROW_LENGTH } from "./vector-rows.ts";

/** The steps in order, including the first if it follows from the seed. */
export function pastSteps(
  { config }: ShardGeometry,
  snapshots: SnapshotStore,
): number[] {
  const stored = snapshots.steps();
  return isDrawn(config) ? [...new Set([0, ...stored])] : stored;
}

/**
 * Row `row` of a part of a state (f32 elements from `row` · 256 Ki on); undefined past the end, or if the step is not
 * kept.
 */
export function pastRow(
  { config, table, range }: ShardGeometry,
  snapshots: SnapshotStore,
  { step, part, row }: { step: number; part: string; row: number },
): Uint8Array | undefined {
  if (step > 0 || !isDrawn(config)) return snapshots.row(step, part, row);
  const { length, moment } = stateParts({ config, table, range }).find(
    ({ name }) => name === part,
  )!;
  const from = row * ROW_LENGTH;
  const count = Math.min(ROW_LENGTH, length - from);
  if (count <= 0) return undefined;
  const values =
    moment === undefined
      ? initialParameters(table, config.seed, range.start + from, count)
      : new Float32Array(count);
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function isDrawn({ from }: ShardGeometry["config"]): boolean {
  return from === undefined;
}
