/** The initial state of a shard whose run starts from a model or checkpoint. */
import { isolateMemory } from "../../memory/ledger.ts";
import {
  readState,
  type ShardGeometry,
  type ShardState,
  stateFrom,
} from "../../training/shard-state.ts";
import { openPinned } from "../platform/stored-model.ts";

/** The shard's range of that model; undefined if parameters are drawn from the seed. */
export async function importedState(
  bucket: R2Bucket,
  geometry: ShardGeometry,
): Promise<ShardState | undefined> {
  const { from } = geometry.config;
  const { start, length } = geometry.range;
  if (from === undefined) return undefined;
  // Parameters and at most two moments, f32.
  const reservation = await isolateMemory.reserve(3 * 4 * length);
  try {
    const model = await openPinned(bucket, from);
    if (!from.resumed)
      return stateFrom(geometry, await model.read(start, start + length));
    return await readState(geometry, (...part) => model.read(...part));
  } finally {
    reservation.release();
  }
}
