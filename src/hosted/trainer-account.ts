/**
 * A hosted trainer's part of its isolate's memory: while it computes a microbatch it reserves all that
 * takes; in between, frames and packed weights are kept as long as nobody else needs the room.
 */
import { kernels } from "../kernels/runtime.ts";
import type { Ledger, Reservation } from "../memory/ledger.ts";
import type { TrainerAccount } from "../training/trainer.ts";

/** `key` tells the trainer from all others of the isolate. */
export function accountOf(ledger: Ledger, key: string): TrainerAccount {
  let reservation: Reservation | undefined;
  return {
    async begin({ kept, pushed, arena }) {
      // What stayed is still there, unless it has to make room while this waits.
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
