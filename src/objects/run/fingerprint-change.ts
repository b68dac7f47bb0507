import { newRunKeys } from "../platform/author.ts";
import { checkNotEnded } from "./present-step.ts";
import type { RunParts } from "./run-parts.ts";

/**
 * Changes the run's fingerprint: results reported for the present step and the keys of its leases become void. `by`
 * is the join token whose trainer set it. Errors: `wrong_state` if the run has ended
 */
export async function changeFingerprint(
  { store, events, present, progress }: RunParts,
  fingerprint: string | null,
  by: string | null,
): Promise<void> {
  await progress.exclusive(() => {
    const { state, keys, fingerprint: before } = present.record();
    checkNotEnded(state);
    if (before === fingerprint) {
      store.update({ fingerprintBy: by });
      return Promise.resolve();
    }
    present.transaction(() => {
      const { secret } = newRunKeys();
      store.update({
        fingerprint,
        fingerprintBy: by,
        keys: { ...keys, secret },
        initialized: false,
      });
      store.ballots.discardAll();
      events.append({ type: "fingerprint", fingerprint });
    });
    present.forget();
    return Promise.resolve();
  });
  await progress.advance();
}
