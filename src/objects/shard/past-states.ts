/** All of a shard's state at steps of the past: in snapshots that are kept, and at first where it follows from the seed. */
import { initialParameters } from "../../model/parameters.ts";
import { type ShardGeometry, stateParts } from "../../training/shard-state.ts";
import type { SnapshotStore } from "./snapshot-store.ts";
import { ROW_LENGTH } from "./vector-rows.ts";

/** In order; the first too where it follows from the seed. */
export function pastSteps(
  { config }: ShardGeometry,
  snapshots: SnapshotStore,
): number[] {
  const stored = snapshots.steps();
  return isDrawn(config) ? [...new Set([0, ...stored])] : stored;
}

/** f32 `[row · 256 Ki, …)` of a part of a state that is there; undefined past its end, or of another step. */
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
