/**
 * Memory accounting of a hosted trainer: while it computes a microbatch, it reserves all the memory that takes; in
 * between, frames and packed weights are kept only while nobody else needs the memory.
 */
import { kernels } from "../kernels/runtime.ts";
import type { Ledger, Reservation } from "../memory/ledger.ts";
import type { TrainerAccount } from "../training/trainer.ts";

/** `key` identifies the trainer within the isolate. */
export function accountOf(ledger: Ledger, key: string): TrainerAccount {
  let reservation: Reservation | undefined;
  return {
    async begin({ kept, pushed, arena }) {
      // Kept data is still there, unless it is dropped while this waits.
      const { memory } = kernels().arena;
      const growth = Math.max(0, arena - memory.buffer.byteLength);
      reservation?.release();
      reservation = await ledger.reserve(kept + pushed + growth, "trainer");
      ledger.letGo(key);
    },
    end({ kept }, drop) {
      reservation?.release();
      ledger.keep(key, kept, drop);
    },
  };
}
