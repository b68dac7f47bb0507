/**
 * Which snapshots stay when a later one is there, so that a step of the past can be computed again and the run can go
 * back. It is a pure function of where the shard is, so all shards of a run have them of the same steps.
 */
import type { ShardGeometry } from "../../training/shard-state.ts";

/**
 * Whether the snapshot of `step` stays when the latest is of `latest`: the first, the latest, and of the multiples of
 * `snapshotSteps` the last two and one in each 2, 4, 8 … before them. So of n snapshots about log2 n stay, and what is
 * far back lies as far apart as it is far back.
 */
export function isKept(
  { config }: Pick<ShardGeometry, "config">,
  step: number,
  latest: number,
): boolean {
  const { snapshotSteps, from } = config;
  if (step === latest || step === (from?.resumed?.step ?? 0)) return true;
  if (step % snapshotSteps !== 0) return false;
  const index = step / snapshotSteps;
  const back = Math.floor(latest / snapshotSteps) - index;
  // The largest power of two up to it.
  return back <= 1 || index % 2 ** (31 - Math.clz32(back)) === 0;
}
