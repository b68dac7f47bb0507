/** When the directory looks for what nobody renews. */

/** Long against a heartbeat, of which several may be lost. */
export const LEASE_MS = 5 * 60_000;

/** Of an upload whose parts come in requests of their own, by callers who may have to begin again. */
export const PARTS_LEASE_MS = 24 * 60 * 60_000;

/** For the lease that ends first, of a key or of an upload. */
export async function setSweepAlarm(
  storage: DurableObjectStorage,
): Promise<void> {
  const { first } = storage.sql
    .exec<{ first: number | null }>(
      "SELECT MIN(until_ms) AS first FROM (SELECT until_ms FROM loose_keys UNION ALL SELECT until_ms FROM uploads)",
    )
    .one();
  if (first === null) return storage.deleteAlarm();
  // From within an alarm, one for this very moment would be lost.
  await storage.setAlarm(Math.max(first, Date.now() + 1));
}
