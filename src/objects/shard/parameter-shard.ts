/**
 * One range of the flat parameter vector. Gradients come in as pushes and are logged before they
 * are acknowledged; `Run` then asks for squared norms (`prepare`) and has the update applied, and a
 * snapshot now and then ends the log. Storage is the truth: the state in memory is the latest
 * snapshot with the logged updates replayed, bit for bit, and may be dropped at any time.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError, type Result, toResult } from "../../api/errors.ts";
import type { RunConfig } from "../../api/run-config.ts";
import { kernels } from "../../kernels/runtime.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import type { Update } from "../../training/optimizer.ts";
import {
  type ShardState,
  stateParts,
  vectorsOf,
} from "../../training/shard-state.ts";
import { updateArenaBytes } from "../../training/shard-update.ts";
import { checkCreation, type RunKeys } from "../platform/author.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { parameterDtype } from "../../training/pulled-parameters.ts";
import { FRAME_BASE } from "../../api/frame-delta.ts";
import { importedState } from "./imported-state.ts";
import { type Loaded, loadShard } from "./loaded-shard.ts";
import { geometryOf } from "./moments-by-group.ts";
import { pastRow, pastSteps } from "./past-states.ts";
import { PinnedState } from "./pinned-state.ts";
import { PushDesk } from "./push-desk.ts";
import { PushLog } from "./push-log.ts";
import { ResidentShard } from "./resident-shard.ts";
import {
  checkExcluded,
  checkRewinds,
  checkRunning,
  checkStep,
  REWINDS,
  WAIT_MS,
} from "./shard-frames.ts";
import { SHARD_SCHEMA } from "./shard-schema.ts";
import { SnapshotStore } from "./snapshot-store.ts";
import { StepWaiters } from "./step-waiters.ts";
import { loggedDigests, SubtreeSums } from "./subtree-sums.ts";

/** A snapshot is due when this much of the log would have to be replayed. */
const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** A state that was dropped and took longer than this to replay is snapshotted, not replayed again. */
const MAX_REPLAYED_UPDATES = 4;

/** The commit's first phase: the norms, or the microbatches of which no such push is here. */
export type Prepared =
  { norms: Float64Array<ArrayBuffer> } | { missing: number[] };

export class ParameterShard extends DurableObject<
  Pick<ObjectBindings, "BUCKET" | "SUBTREE">
> {
  readonly #sql = this.ctx.storage.sql;
  readonly #log = new PushLog(this.#sql);
  readonly #snapshots = new SnapshotStore(this.#sql);
  readonly #pins = new PinnedState(this.#sql);
  readonly #resident = new ResidentShard(
    this.ctx.id.toString(),
    this.#log,
    this.#snapshots,
  );
  readonly #pushes = new PushDesk(this.ctx.storage, this.#log, () =>
    this.#load(),
  );
  readonly #sums = new SubtreeSums(this.ctx, this.env, this.#log, () =>
    this.#load(),
  );
  readonly #waiters = new StepWaiters();
  #loaded: Loaded | undefined;
  /** Of the arena, for an update. */
  #updateBytes: number | undefined;

  /** Frames, as bodies: `pullFrame` and `pushFrame` are the other end. */
  override async fetch(request: Request): Promise<Response> {
    if (request.method !== "GET")
      return (await this.#pushes.answer(request)).response;
    const [, , step] = new URL(request.url).pathname.split("/");
    const caller = request.headers.get("Caller")!;
    const base = request.headers.get(FRAME_BASE) ?? undefined;
    const rewinds = request.headers.get(REWINDS);
    const waitMs = Number(request.headers.get(WAIT_MS) ?? 0);
    const result = await toResult(async () => {
      await this.#reach(caller, Number(step), waitMs);
      if (rewinds !== null) checkRewinds(this.#load(), Number(rewinds));
      return this.#pull(caller, Number(step), base);
    });
    return result.ok ? result.value : Response.json(result, { status: 409 });
  }

  /**
   * Become shard `index` of a run, at its first step. Repeating it changes nothing; with other keys than before,
   * what was pushed under those and is not committed is void.
   */
  initialize(
    config: RunConfig,
    index: number,
    keys: RunKeys,
  ): Promise<Result<void>> {
    return toResult(async () => {
      await this.#initialize(config, index, keys);
      await this.#sums.tell();
    });
  }

  async #initialize(
    config: RunConfig,
    index: number,
    keys: RunKeys,
  ): Promise<void> {
    if (SHARD_SCHEMA.open(this.ctx.storage)) return this.#rekey(keys);
    const row = { shard: index, config: JSON.stringify(config) };
    const geometry = geometryOf(row);
    const state = await importedState(this.env.BUCKET, geometry);
    // While they were read, another call may have been here.
    if (SHARD_SCHEMA.open(this.ctx.storage)) return this.#rekey(keys);
    this.ctx.storage.transactionSync(() => {
      SHARD_SCHEMA.create(this.#sql);
      this.#sql.exec(
        "INSERT INTO shard VALUES (?, ?, 0, 0, ?, ?, 0)",
        index,
        row.config,
        keys.creation,
        keys.secret,
      );
      const step = config.from?.resumed?.step ?? 0;
      if (state) this.#snapshots.write(geometry, state, step);
    });
  }

  #rekey({ creation, secret }: RunKeys): void {
    const { keys, step } = this.#load();
    if (keys.creation === creation && keys.secret === secret) return;
    this.ctx.storage.transactionSync(() => {
      this.#writeKeys({ creation, secret });
      this.#log.discard(step);
    });
    this.#loaded = undefined;
  }

  /** Called inside a transaction. */
  #writeKeys({ creation, secret }: RunKeys): void {
    this.#sql.exec(
      "UPDATE shard SET creation = ?, secret = ?",
      creation,
      secret,
    );
  }

  /** The steps before the present one of which all of the state is kept, in order. */
  states(): Promise<Result<number[]>> {
    return toResult(() => {
      const { geometry, step } = this.#load();
      return pastSteps(geometry, this.#snapshots).filter((past) => past < step);
    });
  }

  /**
   * Go back to `step`, which is the present one or among `states`: what came of it and of those after it is void.
   * Repeating it changes nothing: the keys are new each time that a run goes back.
   */
  goBack(step: number, keys: RunKeys, rewinds: number): Promise<Result<void>> {
    return toResult(async () => {
      this.#goBack(step, keys, rewinds);
      await this.#sums.tell();
    });
  }

  #goBack(step: number, keys: RunKeys, rewinds: number): void {
    const { step: current, keys: before } = this.#load();
    if (before.secret === keys.secret) return;
    if (step !== current && !this.#isPast(step))
      throw new Error(`Expected a step whose state is kept, got ${step}`);
    this.ctx.storage.transactionSync(() => {
      if (step < current) {
        this.#snapshots.goBack(step);
        this.#pins.dropAfter(step);
      }
      this.#log.discard(step);
      this.#writeKeys(keys);
      this.#sql.exec("UPDATE shard SET rewinds = ?", rewinds);
    });
    this.#resident.drop();
    this.#loaded = undefined;
    this.#waiters.wakeAll();
  }

  /** Take nothing of these authors, and void what they have pushed that is not committed. Repeating it changes nothing. */
  exclude(authors: string[]): Promise<Result<void>> {
    return toResult(async () => {
      const { step } = this.#load();
      this.ctx.storage.transactionSync(() => {
        this.#sql.exec("DELETE FROM excluded");
        for (const author of authors)
          this.#sql.exec("INSERT INTO excluded VALUES (?)", author);
        this.#log.discard(step, authors);
      });
      this.#loaded = undefined;
      this.#waiters.wakeAll();
      await this.#sums.tell();
    });
  }

  /** Wait so long for the shard to be at `step`, unless it never will be. */
  async #reach(caller: string, step: number, waitMs: number): Promise<void> {
    if (waitMs === 0) return;
    const { rewinds: before } = this.#load();
    await this.#waiters.wait(waitMs, () => {
      const { step: current, keys, excluded, ended, rewinds } = this.#load();
      checkCreation(keys, caller);
      checkExcluded(excluded, caller);
      return current >= step || ended || rewinds !== before;
    });
  }

  /** The frame of the parameters at exactly `step`: f32 for recipe `f32`, else bf16. */
  async #pull(
    caller: string,
    step: number,
    base: string | undefined,
  ): Promise<Response> {
    const { geometry, step: current, keys, excluded, ended } = this.#load();
    checkCreation(keys, caller);
    checkExcluded(excluded, caller);
    checkRunning(ended && step > current);
    checkStep(current, step, "step_not_reached");
    const frame = await (this.#resident.frame(step) ??
      this.#resident.encode(geometry, this.#state(), step));
    const delta =
      base && parameterDtype(geometry.config) === "bf16"
        ? this.#resident.delta(base, step, frame.bytes)
        : undefined;
    if (!delta) return new Response(frame.read());
    return new Response(delta.read(), { headers: { [FRAME_BASE]: base! } });
  }

  /** Squared norms of the mean of these pushes by chunk: their digests, by microbatch. Changes nothing. */
  prepare(
    step: number,
    taken: readonly (string | null)[],
  ): Promise<Result<Prepared>> {
    return toResult(async () => {
      const missing = await this.#sums.gather(step, taken);
      if (missing.length > 0) return { missing };
      const { geometry, step: current } = this.#load();
      checkStep(current, step, "future_step");
      const found = this.#log.find(step, loggedDigests(geometry.config, taken));
      if ("missing" in found) return found;
      return { norms: this.#resident.norms(geometry, step, found.variants) };
    });
  }

  /** A subtree has all its pushes of a step: their sum may be had before the commit asks for it. */
  gatherOne(
    step: number,
    subtree: number,
    digests: readonly string[],
  ): Promise<Result<number[]>> {
    return toResult(() => this.#sums.gatherOne(step, subtree, digests));
  }

  /** Apply the update of `update.step`, of these pushes, so that the shard reaches the next. Idempotent by step. */
  apply(
    update: Update,
    taken: readonly (string | null)[],
  ): Promise<Result<void>> {
    return toResult(async () => {
      const { geometry } = this.#load();
      this.#updateBytes ??= updateArenaBytes(geometry);
      const { memory } = kernels().arena;
      const growth = this.#updateBytes - memory.buffer.byteLength;
      const reservation = await isolateMemory.reserve(Math.max(0, growth));
      try {
        this.#apply(update, taken);
      } finally {
        reservation.release();
      }
      await this.#sums.tell({ step: update.step, taken });
    });
  }

  #apply(update: Update, taken: readonly (string | null)[]): void {
    const loaded = this.#load();
    if (update.step < loaded.step) return;
    checkStep(loaded.step, update.step, "future_step");
    const found = this.#log.find(
      update.step,
      loggedDigests(loaded.geometry.config, taken),
    );
    if ("missing" in found) {
      throw new Error(
        `Expected the pushes that the commit of step ${update.step} takes, got none of microbatches ${found.missing.join()}`,
      );
    }
    this.ctx.storage.transactionSync(() =>
      this.#log.keep(update.step, found.variants),
    );
    const state = this.#state();
    try {
      this.#resident.replay(loaded.geometry, state, update);
      this.ctx.storage.transactionSync(() => {
        this.#snapshots.record(update);
        this.#log.forgetAuthors(update.step);
        loaded.step++;
        if (this.#isSnapshotDue(loaded)) this.#writeSnapshot(loaded, state);
      });
    } catch (error) {
      this.#resident.drop();
      this.#loaded = undefined;
      throw error;
    }
    // While the state is here: by the time it is pulled, others may have pushed it out.
    void this.#resident.encode(loaded.geometry, state, loaded.step);
    this.#waiters.wakeAll();
  }

  /**
   * Set the parameters of `step` aside for a checkpoint, and where it is to have all state, the moments. Repeating
   * it changes nothing.
   */
  pin(step: number, isFull: boolean): Promise<Result<void>> {
    return toResult(() => {
      const { step: current, geometry } = this.#load();
      // One of the present step may go while it is read.
      if (step < current && this.#isPast(step)) return;
      const parts = stateParts(geometry);
      const wanted = isFull ? parts : parts.slice(0, 1);
      if (wanted.every(({ name }) => this.#pins.has(step, name))) return;
      checkStep(current, step, "step_not_reached");
      const vectors = vectorsOf(this.#state());
      this.ctx.storage.transactionSync(() => {
        for (const [index, { name }] of wanted.entries())
          this.#pins.write(step, name, vectors[index]!);
      });
    });
  }

  /** f32 `[row · 256 Ki, …)` of a part of the shard's state at a step that is pinned or kept. */
  pinned(step: number, part: string, row: number): Promise<Result<Uint8Array>> {
    return toResult(() => {
      const { geometry } = this.#load();
      const bytes =
        this.#pins.row(step, part, row) ??
        pastRow(geometry, this.#snapshots, { step, part, row });
      if (bytes) return bytes;
      throw new AppError(
        "step_gone",
        `Expected step ${step} to be pinned; ask for the checkpoint again`,
      );
    });
  }

  /** The run has ended: take no more pushes, keep the parameters, let the log go. */
  end(): Promise<Result<void>> {
    return toResult(async () => {
      this.#end();
      await this.#sums.tell();
    });
  }

  #end(): void {
    const loaded = this.#load();
    if (loaded.ended) return;
    const state = this.#state();
    this.ctx.storage.transactionSync(() => {
      this.#writeSnapshot(loaded, state);
      this.#log.clear();
      this.#sql.exec("UPDATE shard SET ended = 1");
    });
    loaded.ended = true;
    this.#waiters.wakeAll();
  }

  /** Forget everything. */
  async destroy(): Promise<void> {
    await this.#sums.destroy();
    this.#resident.drop();
    this.#log.forget();
    this.#loaded = undefined;
    await this.ctx.storage.deleteAll();
    this.#waiters.wakeAll();
  }

  #isPast(step: number): boolean {
    return pastSteps(this.#load().geometry, this.#snapshots).includes(step);
  }

  #load(): Loaded {
    this.#loaded ??= loadShard(this.ctx.storage, this.#snapshots);
    return this.#loaded;
  }

  /** The state at the current step, until the next `await`. */
  #state(): ShardState {
    const loaded = this.#load();
    return this.#resident.state(loaded.geometry, (state, updates) => {
      if (updates <= MAX_REPLAYED_UPDATES) return;
      this.ctx.storage.transactionSync(() =>
        this.#writeSnapshot(loaded, state),
      );
    });
  }

  /** All shards of a run have one at the same steps, and each has others where its log is long. */
  #isSnapshotDue({ geometry, step }: Loaded): boolean {
    return (
      step % geometry.config.snapshotSteps === 0 ||
      this.#log.bytes() >= MAX_LOG_BYTES
    );
  }

  /** Called inside a transaction. */
  #writeSnapshot(loaded: Loaded, state: ShardState): void {
    this.#snapshots.write(loaded.geometry, state, loaded.step);
    this.#log.dropBelow(loaded.step);
  }
}
