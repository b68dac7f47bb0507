import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { free } from "../memory/free.ts";

/**
 * The weights of one step as panels of a low-precision GEMM: the same for all microbatches of a step (neither their
 * signs nor their rounding depends on it), so they are packed by the first and copied by the others.
 * The copies lie outside the arena, where nothing outlives a scope.
 */
export class PackedWeights {
  readonly #panels = new Map<string, Uint8Array<ArrayBuffer>>();

  /** The panel called `name`, in the caller's scope; `pack` makes it when it is not there yet. */
  panel(name: string, bytes: number, pack: () => Pointer): Pointer {
    const { arena } = kernels();
    const known = this.#panels.get(name);
    if (known) return arena.copyIn(known);
    const panel = pack();
    this.#panels.set(name, arena.u8(panel, bytes).slice());
    return panel;
  }

  /** No microbatch of this step comes any more. */
  release(): void {
    for (const panel of this.#panels.values()) free(panel);
    this.#panels.clear();
  }
}
