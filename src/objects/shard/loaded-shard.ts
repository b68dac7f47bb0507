/** A shard's metadata: everything but its vectors. */
import { AppError } from "../../api/errors.ts";
import type { ShardGeometry } from "../../training/shard-state.ts";
import type { Neighbours } from "../../training/subtrees.ts";
import type { RunKeys } from "../platform/author.ts";
import { outdatedRun } from "../platform/schema.ts";
import { geometryOf, type ShardRow } from "./moments-by-group.ts";
import { SHARD_SCHEMA } from "./shard-schema.ts";
import type { SnapshotStore } from "./snapshot-store.ts";

/** Set by `initialize`, except the step. */
export type Loaded = {
  geometry: ShardGeometry;
  keys: RunKeys;
  excluded: ReadonlySet<string>;
  /** The number of updates so far: parameters are those of this step. */
  step: number;
  /** How often the run was rewound. */
  rewinds: number;
  ended: boolean;
  /** The microbatches whose pushes this shard receives: all, or none if they go to subtrees. */
  own: Neighbours;
};

/** Errors: `shard_not_found`, `state_version` */
export function loadShard(
  storage: DurableObjectStorage,
  snapshots: SnapshotStore,
): Loaded {
  const { sql } = storage;
  if (!SHARD_SCHEMA.open(storage)) {
    throw new AppError(
      "shard_not_found",
      "Expected a shard of an existing run, got one that no run has",
    );
  }
  const row = sql.exec<ShardRow>("SELECT * FROM shard").one();
  if (row.outdated === 1) throw outdatedRun();
  const { step } = snapshots.pointer();
  const geometry = geometryOf(row);
  const { microbatches, subtree } = geometry.config;
  return {
    geometry,
    own: { first: 0, count: subtree ? 0 : microbatches },
    keys: { creation: row.creation ?? "", secret: row.secret ?? "" },
    excluded: new Set(
      Array.from(
        sql.exec<{ author: string }>("SELECT author FROM excluded"),
        ({ author }) => author,
      ),
    ),
    step: step + snapshots.updates().length,
    rewinds: row.rewinds,
    ended: row.ended === 1,
  };
}
