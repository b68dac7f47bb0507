/**
 * A shard's data in memory: its state, the frame that trainers pull, and between the two phases of a commit the mean
 * gradient. All of it can be restored from storage, bit for bit, so it is dropped as soon as others in the isolate
 * need the memory.
 */
import { free } from "../../memory/free.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import { SharedBytes } from "../../memory/shared-bytes.ts";
import {
  keptGradient,
  loggedGradient,
  type MeanGradient,
  squaredNorms,
} from "../../training/mean-gradient.ts";
import type { Update } from "../../training/optimizer.ts";
import {
  type ShardGeometry,
  initialState,
  type ShardState,
  stateParts,
  vectorsOf,
} from "../../training/shard-state.ts";
import { applyUpdate } from "../../training/shard-update.ts";
import { FrameDeltas, type SealedFrame } from "./frame-deltas.ts";
import type { PushLog, Variants } from "./push-log.ts";
import { encodeParameters } from "./shard-frames.ts";
import type { SnapshotStore } from "./snapshot-store.ts";

export class ResidentShard {
  readonly #log: PushLog;
  readonly #snapshots: SnapshotStore;
  readonly #stateKey: string;
  readonly #frameKey: string;
  readonly #gradientKey: string;
  readonly #deltas: FrameDeltas;
  #state: ShardState | undefined;
  #frame: SealedFrame | undefined;
  /** The mean gradient of a step, kept between `norms` and the update. */
  #gradient:
    | { step: number; variants: string; values: Float32Array<ArrayBuffer> }
    | undefined;

  /** `key` identifies the shard within the isolate. */
  constructor(key: string, log: PushLog, snapshots: SnapshotStore) {
    this.#log = log;
    this.#snapshots = snapshots;
    this.#stateKey = `${key}/state`;
    this.#frameKey = `${key}/frame`;
    this.#gradientKey = `${key}/gradient`;
    this.#deltas = new FrameDeltas(key);
  }

  /** The state, if it is in memory. Valid until the next `await`. */
  get present(): ShardState | undefined {
    return this.#state;
  }

  /**
   * The state after all updates: from memory, or the snapshot with the log replayed, in which case `onReplay` is
   * called. Valid until the next `await`.
   */
  state(
    geometry: ShardGeometry,
    onReplay: (state: ShardState, updates: number) => void,
  ): ShardState {
    isolateMemory.touch(this.#stateKey);
    if (this.#state) return this.#state;
    const elements = stateParts(geometry).reduce(
      (sum, { length }) => sum + length,
      0,
    );
    isolateMemory.keep(this.#stateKey, 4 * elements, () => this.#dropState());
    try {
      const state = this.#snapshots.read(geometry) ?? initialState(geometry);
      this.#state = state;
      const updates = this.#snapshots.updates();
      for (const update of updates) this.replay(geometry, state, update);
      onReplay(state, updates.length);
      return state;
    } catch (error) {
      this.drop();
      throw error;
    }
  }

  /** Applies one update from the log, which has only kept the pushes that the commit took. */
  replay(geometry: ShardGeometry, state: ShardState, update: Update): void {
    const kept = this.#gradient;
    const variants = this.#log.kept(update.step);
    const mean =
      kept?.step === update.step && kept.variants === variants.join()
        ? keptGradient(kept.values)
        : this.#reduced(geometry, update.step, variants);
    applyUpdate(geometry, state, update, mean);
    this.#dropGradient();
  }

  /**
   * The squared norms of the mean of a step's pushes. The mean is kept for the update that follows if there is
   * memory; otherwise the update reduces the pushes again, to the same bytes.
   */
  norms(
    geometry: ShardGeometry,
    step: number,
    variants: Variants,
  ): Float64Array<ArrayBuffer> {
    this.#dropGradient();
    const { length } = geometry.range;
    const mean = this.#reduced(geometry, step, variants);
    if (!isolateMemory.hasRoom(4 * length)) return squaredNorms(geometry, mean);
    const values = new Float32Array(length);
    const norms = squaredNorms(geometry, mean, values);
    isolateMemory.keep(this.#gradientKey, 4 * length, () =>
      this.#dropGradient(),
    );
    this.#gradient = { step, variants: variants.join(), values };
    return norms;
  }

  #reduced(
    geometry: ShardGeometry,
    step: number,
    variants: Variants,
  ): MeanGradient {
    return loggedGradient(geometry, step, (part, slice) =>
      this.#log.read(step, part, variants[part]!, slice),
    );
  }

  /** The frame of `step`, if it is in memory. */
  frame(step: number): SealedFrame["sealed"] | undefined {
    if (this.#frame?.step !== step) return undefined;
    isolateMemory.touch(this.#frameKey);
    return this.#frame.sealed;
  }

  /** Encodes the frame of `state`, at `step`. */
  encode(
    geometry: ShardGeometry,
    state: ShardState,
    step: number,
  ): SealedFrame["sealed"] {
    const before = this.#frame;
    if (before?.step === step - 1 && this.#deltas.areWanted) {
      isolateMemory.letGo(this.#frameKey);
      this.#deltas.keepBefore(before);
    } else this.#dropFrame();
    const { bytes, seal } = encodeParameters(geometry, state.parameters, step);
    isolateMemory.keep(this.#frameKey, bytes.length, () => this.#dropFrame());
    const sealed = seal().then((frame) => new SharedBytes(frame));
    this.#frame = { step, sealed };
    return this.#frame.sealed;
  }

  /**
   * The difference that turns the frame with digest `base` into `frame`, of `step`; undefined if that base is not
   * kept, or if it is not smaller.
   */
  delta(
    base: string,
    step: number,
    frame: Uint8Array<ArrayBuffer>,
  ): SharedBytes | undefined {
    return this.#deltas.of(base, step, frame);
  }

  /** Drops the cache; everything is read again from storage. */
  drop(): void {
    this.#deltas.drop();
    this.#dropState();
    this.#dropFrame();
    this.#dropGradient();
  }

  #dropGradient(): void {
    isolateMemory.letGo(this.#gradientKey);
    const gradient = this.#gradient;
    this.#gradient = undefined;
    if (gradient) free(gradient.values);
  }

  #dropState(): void {
    isolateMemory.letGo(this.#stateKey);
    const state = this.#state;
    this.#state = undefined;
    if (!state) return;
    for (const vector of vectorsOf(state)) free(vector);
  }

  /** Releases the frame. Pending responses that await it run first, and hold its bytes until they are sent. */
  #dropFrame(): void {
    isolateMemory.letGo(this.#frameKey);
    const frame = this.#frame;
    this.#frame = undefined;
    frame?.sealed.then(
      (shared) => shared.drop(),
      () => {},
    );
  }
}
