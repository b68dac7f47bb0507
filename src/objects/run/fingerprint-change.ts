import { newRunKeys } from "../platform/author.ts";
import { checkNotEnded } from "./present-step.ts";
import type { RunParts } from "./run-parts.ts";

/**
 * Trainers of another fingerprint take over: what others have told of the present step is void, and so are
 * the keys of its leases. `by` is the join token whose trainer set it. Errors: `wrong_state`, the run has ended
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
