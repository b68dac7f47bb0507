/**
 * Migrates snapshots of schema version 2, which have one vector `m` and one `v` for the whole shard, to moments by
 * group.
 */
import type { RunConfig } from "../../api/run-config.ts";
import { modelOf } from "../../model/architectures.ts";
import { type ShardGeometry, stateParts } from "../../training/shard-state.ts";
import { shardRanges } from "../../training/sharding.ts";
import { fromRows, toRows } from "./vector-rows.ts";

/** The row of a shard's table. */
export type ShardRow = {
  shard: number;
  config: string;
  ended: number;
  outdated: number;
  /** The run's keys; null in storage of an earlier release, until the run sends them. */
  creation: string | null;
  secret: string | null;
  rewinds: number;
};

export function geometryOf({
  shard,
  config,
}: Pick<ShardRow, "shard" | "config">): ShardGeometry {
  const parsed = JSON.parse(config) as RunConfig;
  const { table } = modelOf(parsed.model);
  return {
    config: parsed,
    table,
    range: shardRanges(table, parsed.shards)[shard]!,
  };
}

/** The vector that contained each moment. */
const BEFORE: Record<string, string> = { momentum: "m", m: "m", v: "v" };

/** Called inside a transaction. For matrices with Muon, `v` was the latest direction, which is not needed. */
export function keepMomentsByGroup(sql: SqlStorage): void {
  const [row] = sql.exec<ShardRow>("SELECT * FROM shard").toArray();
  const { version } = sql
    .exec<{ version: number }>("SELECT version FROM snapshot_pointer")
    .one();
  if (row === undefined || row.outdated === 1 || version === 0) return;
  const geometry = geometryOf(row);
  for (const part of ["m", "v"]) {
    const whole = fromRows(
      sql.exec<{ value: ArrayBuffer }>(
        "SELECT value FROM snapshots WHERE version = ? AND part = ? ORDER BY row",
        version,
        part,
      ),
      geometry.range.length,
    );
    for (const { name, start, length, moment } of stateParts(geometry)) {
      if (moment === undefined || BEFORE[moment] !== part) continue;
      const own = whole.subarray(start, start + length);
      for (const { row, bytes } of toRows(own)) {
        sql.exec(
          "INSERT INTO snapshots VALUES (?, ?, ?, ?)",
          version,
          name,
          row,
          bytes,
        );
      }
    }
  }
  sql.exec("DELETE FROM snapshots WHERE part IN ('m', 'v')");
}
