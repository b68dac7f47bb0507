/** When the directory deletes what nobody has renewed. */

/** Several heartbeats long, so that some may be lost. */
export const LEASE_MS = 5 * 60_000;

/** For an upload whose parts are separate requests, whose callers may have to start over. */
export const PARTS_LEASE_MS = 24 * 60 * 60_000;

/** Sets the alarm to the time at which the first lease ends, of a key or of an upload. */
export async function setSweepAlarm(
  storage: DurableObjectStorage,
): Promise<void> {
  const { first } = storage.sql
    .exec<{ first: number | null }>(
      "SELECT MIN(until_ms) AS first FROM (SELECT until_ms FROM loose_keys UNION ALL SELECT until_ms FROM uploads)",
    )
    .one();
  if (first === null) return storage.deleteAlarm();
  // Inside an alarm handler, setting an alarm for the present moment has no effect.
  await storage.setAlarm(Math.max(first, Date.now() + 1));
}
