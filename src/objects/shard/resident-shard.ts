/**
 * What a shard has in memory: its state and the frame that trainers pull. Both follow from storage bit
 * for bit, so each goes as soon as somebody else in the isolate needs the room.
 */
import { free } from "../../memory/free.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import { initialParameters } from "../../model/parameters.ts";
import type { Update } from "../../training/optimizer.ts";
import {
  applyUpdate,
  type ShardGeometry,
  type ShardState,
} from "../../training/shard-update.ts";
import type { PushLog } from "./push-log.ts";
import { encodeParameters } from "./shard-frames.ts";
import type { SnapshotStore } from "./snapshot-store.ts";

type Frame = { step: number; sealed: Promise<Uint8Array<ArrayBuffer>> };

export class ResidentShard {
  readonly #log: PushLog;
  readonly #snapshots: SnapshotStore;
  readonly #stateKey: string;
  readonly #frameKey: string;
  #state: ShardState | undefined;
  #frame: Frame | undefined;

  /** `key` tells the shard from all others of the isolate. */
  constructor(key: string, log: PushLog, snapshots: SnapshotStore) {
    this.#log = log;
    this.#snapshots = snapshots;
    this.#stateKey = `${key}/state`;
    this.#frameKey = `${key}/frame`;
  }

  /**
   * The state after all updates: from memory, or the snapshot with the log replayed, of which
   * `onReplay` is told. Gone with the next `await`.
   */
  state(
    geometry: ShardGeometry,
    onReplay: (state: ShardState, updates: number) => void,
  ): ShardState {
    isolateMemory.touch(this.#stateKey);
    if (this.#state) return this.#state;
    const { length } = geometry.range;
    isolateMemory.keep(this.#stateKey, 3 * 4 * length, () => this.#dropState());
    try {
      const state = this.#snapshots.read(length) ?? initialState(geometry);
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

  /** One update, from the log. */
  replay(geometry: ShardGeometry, state: ShardState, update: Update): void {
    applyUpdate(geometry, state, update, (microbatch, slice) =>
      this.#log.read(update.step, microbatch, slice),
    );
  }

  /** The frame of `step`, if it is there. */
  frame(step: number): Frame["sealed"] | undefined {
    if (this.#frame?.step !== step) return undefined;
    isolateMemory.touch(this.#frameKey);
    return this.#frame.sealed;
  }

  /** The frame of `state`, which is that of `step`. */
  encode(
    geometry: ShardGeometry,
    state: ShardState,
    step: number,
  ): Frame["sealed"] {
    this.#dropFrame();
    const { bytes, seal } = encodeParameters(geometry, state.parameters, step);
    isolateMemory.keep(this.#frameKey, bytes.length, () => this.#dropFrame());
    this.#frame = { step, sealed: seal() };
    return this.#frame.sealed;
  }

  /** Memory is a cache: read all anew. */
  drop(): void {
    this.#dropState();
    this.#dropFrame();
  }

  #dropState(): void {
    isolateMemory.letGo(this.#stateKey);
    const state = this.#state;
    this.#state = undefined;
    if (!state) return;
    for (const part of [state.parameters, state.m, state.v]) free(part);
  }

  /** Whoever awaits the frame goes first: what a response has, it keeps. */
  #dropFrame(): void {
    isolateMemory.letGo(this.#frameKey);
    const frame = this.#frame;
    this.#frame = undefined;
    frame?.sealed.then(free, () => {});
  }
}

function initialState({ config, table, range }: ShardGeometry): ShardState {
  const { start, length } = range;
  return {
    parameters: initialParameters(table, config.seed, start, length),
    m: new Float32Array(length),
    v: new Float32Array(length),
  };
}
