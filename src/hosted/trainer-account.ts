/**
 * A hosted trainer's part of its isolate's memory: while it computes a microbatch it reserves all that
 * takes; in between, frames and packed weights are kept as long as nobody else needs the room.
 */
import { kernels } from "../kernels/runtime.ts";
import type { Ledger, Reservation } from "../memory/ledger.ts";
import { trainerMemory } from "../training/memory.ts";
import type { RunPlan } from "../training/microbatch.ts";
import type { TrainerAccount } from "../training/trainer.ts";

/** `key` tells the trainer from all others of the isolate. */
export function accountOf(ledger: Ledger, key: string): TrainerAccount {
  let reservation: Reservation | undefined;
  return {
    async begin({ config, parameters }) {
      // What stayed is still there, unless it has to make room while this waits.
      const { kept, pushed, arena } = trainerMemory(config, parameters);
      const { memory } = kernels().arena;
      const growth = Math.max(0, arena - memory.buffer.byteLength);
      reservation = await ledger.reserve(kept + pushed + growth, "trainer");
      ledger.letGo(key);
    },
    end({ config, parameters }: RunPlan, drop) {
      reservation?.release();
      ledger.keep(key, trainerMemory(config, parameters).kept, drop);
    },
  };
}
