import type { Pointer, Region } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";

/**
 * The weights of one step as panels of a low-precision GEMM: the same for all microbatches of a step
 * (neither their signs nor their rounding depends on it), so the first packs them and the others find
 * them. They lie in a region of their own, which outlives the scopes of the microbatches; what does not
 * fit there is packed each time it is asked for.
 */
export class PackedWeights {
  readonly #region: Region | undefined;
  readonly #panels = new Map<string, Pointer>();
  /** Of every panel that was asked for, there or not. */
  readonly #bytes = new Map<string, number>();
  #used = 0;

  /** With room for `capacity` bytes of panels. */
  constructor(capacity = 0) {
    if (capacity > 0) this.#region = kernels().arena.own(capacity);
  }

  /** The capacity at which every panel that was asked for would have stayed. */
  get wantedBytes(): number {
    return this.#bytes.values().reduce((sum, bytes) => sum + bytes, 0);
  }

  /** The panel called `name`, in the caller's scope or longer; `pack` writes it when it is not there. */
  panel(name: string, bytes: number, pack: (panel: Pointer) => void): Pointer {
    const known = this.#panels.get(name);
    if (known !== undefined) return known;
    this.#bytes.set(name, roomFor(bytes));
    const { arena } = kernels();
    const kept = this.#reserve(roomFor(bytes));
    const panel = kept ?? arena.alloc(bytes);
    arena.scope(() => pack(panel));
    if (kept !== undefined) this.#panels.set(name, kept);
    return panel;
  }

  /** No microbatch of this step comes any more: give the room back. */
  free(): void {
    this.#panels.clear();
    this.#used = this.#region?.bytes ?? 0;
    this.#region?.free();
  }

  #reserve(room: number): Pointer | undefined {
    if (!this.#region || this.#used + room > this.#region.bytes) return;
    const panel = this.#region.pointer + this.#used;
    this.#used += room;
    return panel;
  }
}

/** Panels begin at cache lines. */
function roomFor(bytes: number): number {
  return Math.ceil(bytes / 64) * 64;
}
