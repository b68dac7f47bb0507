/**
 * Which earlier snapshots are kept, so that past steps can be recomputed and the run rewound. A pure function of the
 * step, so all shards of a run keep the same steps.
 */
import type { ShardGeometry } from "../../training/shard-state.ts";

/**
 * Whether the snapshot of `step` is kept when the latest is of `latest`: the first, the latest, and, of the multiples
 * of `snapshotSteps`, the last two and one in each 2, 4, 8 … before them. So about log2 n of n snapshots are kept,
 * with gaps that grow in proportion to their age.
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
  // Kept if a multiple of the largest power of two up to `back`.
  return back <= 1 || index % 2 ** (31 - Math.clz32(back)) === 0;
}
