/**
 * A shard at its present step: its metadata, its vectors, and the commit that leads to the next step. Storage is
 * authoritative; after `forget`, everything is read again.
 */
import { kernels } from "../../kernels/runtime.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import type { Update } from "../../training/optimizer.ts";
import type { ShardState } from "../../training/shard-state.ts";
import { updateArenaBytes } from "../../training/shard-update.ts";
import { type Loaded, loadShard } from "./loaded-shard.ts";
import type { PushLog } from "./push-log.ts";
import { ResidentShard } from "./resident-shard.ts";
import { checkStep } from "./shard-frames.ts";
import type { SnapshotStore } from "./snapshot-store.ts";

/** A snapshot is due when this much of the log would have to be replayed. */
const MAX_LOG_BYTES = 16 * 1024 * 1024;
/**
 * Every second shard writes its snapshot this much earlier, so that two shards on one thread do so at different steps
 * if steps are small.
 */
const APART_BYTES = 512 * 1024;
/** If replaying more updates than this was necessary, a snapshot is written, so that they are not replayed again. */
const MAX_REPLAYED_UPDATES = 4;

/** The digests of the pushes that a commit takes, by microbatch. */
export type Taken = readonly (string | null)[];

/** The result of the commit's first phase: the norms, or the microbatches whose push is missing. */
export type Prepared =
  { norms: Float64Array<ArrayBuffer> } | { missing: number[] };

export class CurrentState {
  readonly resident: ResidentShard;
  readonly #storage: DurableObjectStorage;
  readonly #log: PushLog;
  readonly #snapshots: SnapshotStore;
  #loaded: Loaded | undefined;
  /** Arena bytes of an update. */
  #updateBytes: number | undefined;

  /** `key` identifies the shard within the isolate. */
  constructor(
    key: string,
    storage: DurableObjectStorage,
    log: PushLog,
    snapshots: SnapshotStore,
  ) {
    this.#storage = storage;
    this.#log = log;
    this.#snapshots = snapshots;
    this.resident = new ResidentShard(key, log, snapshots);
  }

  /** Errors: `shard_not_found`, `state_version` */
  load(): Loaded {
    this.#loaded ??= loadShard(this.#storage, this.#snapshots);
    return this.#loaded;
  }

  /** The metadata has changed in storage. */
  reload(): void {
    this.#loaded = undefined;
  }

  /** The vectors have changed in storage too. */
  forget(): void {
    this.resident.drop();
    this.reload();
  }

  /** The vectors at the present step, valid until the next `await`. */
  state(): ShardState {
    const loaded = this.load();
    return this.resident.state(loaded.geometry, (state, updates) => {
      if (updates <= MAX_REPLAYED_UPDATES) return;
      this.#storage.transactionSync(() => this.#writeSnapshot(loaded, state));
    });
  }

  /** The squared norms by chunk of these pushes' mean. Changes nothing. */
  prepare(step: number, taken: Taken): Prepared {
    const { geometry, step: current } = this.load();
    checkStep(current, step, "future_step");
    const found = this.#log.find(step, taken);
    if ("missing" in found) return found;
    return { norms: this.resident.norms(geometry, step, found.variants) };
  }

  /** Applies the update of `update.step` with these pushes. Idempotent by step. */
  async apply(update: Update, taken: Taken): Promise<void> {
    const { geometry } = this.load();
    this.#updateBytes ??= updateArenaBytes(geometry);
    const { memory } = kernels().arena;
    const growth = this.#updateBytes - memory.buffer.byteLength;
    const reservation = await isolateMemory.reserve(Math.max(0, growth));
    try {
      this.#apply(update, taken);
    } finally {
      reservation.release();
    }
  }

  #apply(update: Update, taken: Taken): void {
    const loaded = this.load();
    if (update.step < loaded.step) return;
    checkStep(loaded.step, update.step, "future_step");
    const found = this.#log.find(update.step, taken);
    if ("missing" in found) {
      throw new Error(
        `Expected the pushes that the commit of step ${update.step} takes, got none of microbatches ${found.missing.join()}`,
      );
    }
    this.#storage.transactionSync(() =>
      this.#log.keep(update.step, found.variants),
    );
    const state = this.state();
    try {
      this.resident.replay(loaded.geometry, state, update);
      this.#storage.transactionSync(() => {
        this.#snapshots.record(update);
        this.#log.forgetAuthors(update.step);
        loaded.step++;
        if (this.#isSnapshotDue(loaded)) this.#writeSnapshot(loaded, state);
      });
    } catch (error) {
      this.forget();
      throw error;
    }
    // Encode the frame while the state is in memory: by the time it is pulled, others may have displaced it.
    void this.resident.encode(loaded.geometry, state, loaded.step);
  }

  /** Multiples of `snapshotSteps`, where all shards of a run have one; and whenever this shard's log is long. */
  #isSnapshotDue({ geometry, step }: Loaded): boolean {
    return (
      step % geometry.config.snapshotSteps === 0 ||
      this.#log.bytes() >= MAX_LOG_BYTES
    );
  }

  /** Whether the log is so long that the next commit would have to write a snapshot. */
  get isLogLong(): boolean {
    const { geometry, step, ended } = this.load();
    const bytes = this.#log.bytes();
    const updates = step - this.#snapshots.pointer().step;
    if (ended || updates === 0) return false;
    const limit = MAX_LOG_BYTES - (geometry.range.index % 2) * APART_BYTES;
    return bytes + bytes / updates >= limit;
  }

  /** Writes the snapshot now, if the state is in memory. */
  shortenLog(): void {
    const state = this.resident.present;
    if (!state || !this.isLogLong) return;
    const loaded = this.load();
    this.#storage.transactionSync(() => this.#writeSnapshot(loaded, state));
  }

  /** The run has ended: keeps the parameters, drops the log. */
  end(): void {
    const loaded = this.load();
    const state = this.state();
    this.#storage.transactionSync(() => {
      this.#writeSnapshot(loaded, state);
      this.#log.clear();
      this.#storage.sql.exec("UPDATE shard SET ended = 1");
    });
    loaded.ended = true;
  }

  /** Called inside a transaction. */
  #writeSnapshot(loaded: Loaded, state: ShardState): void {
    this.#snapshots.write(loaded.geometry, state, loaded.step);
    this.#log.dropBelow(loaded.step);
  }
}
