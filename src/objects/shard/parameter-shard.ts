/**
 * One range of the flat parameter vector. Gradients come in as pushes and are logged before they
 * are acknowledged; `Run` then asks for squared norms (`prepare`) and has the update applied, and a
 * snapshot now and then ends the log. Storage is the truth: the state in memory is the latest
 * snapshot with the logged updates replayed, bit for bit, and may be dropped at any time.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError, type Result, toResult } from "../../api/errors.ts";
import { decodeFrame, type Frame } from "../../api/frame.ts";
import type { RunConfig } from "../../api/types.ts";
import { kernels } from "../../kernels/runtime.ts";
import { free } from "../../memory/free.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import type { Update } from "../../training/optimizer.ts";
import {
  type ShardGeometry,
  type ShardState,
  stateOf,
  stateParts,
  vectorsOf,
} from "../../training/shard-state.ts";
import { updateArenaBytes } from "../../training/shard-update.ts";
import {
  authorOfKey,
  checkCreation,
  type RunKeys,
} from "../platform/author.ts";
import { outdatedRun } from "../platform/schema.ts";
import { openPinned } from "../platform/stored-model.ts";
import { discard, MAX_FRAME_BYTES, readFrame } from "./frame-body.ts";
import { geometryOf, type ShardRow } from "./moments-by-group.ts";
import { PinnedState } from "./pinned-state.ts";
import { PushLog } from "./push-log.ts";
import { ResidentShard } from "./resident-shard.ts";
import { stateFrom } from "../../training/shard-state.ts";
import {
  checkExcluded,
  checkFrame,
  checkMicrobatch,
  checkRunning,
  checkStep,
} from "./shard-frames.ts";
import { SHARD_SCHEMA } from "./shard-schema.ts";
import { SnapshotStore } from "./snapshot-store.ts";

/** A snapshot is due when this much of the log would have to be replayed. */
const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** A state that was dropped and took longer than this to replay is snapshotted, not replayed again. */
const MAX_REPLAYED_UPDATES = 4;

/** The commit's first phase: the norms, or the microbatches of which no such push is here. */
export type Prepared =
  { norms: Float64Array<ArrayBuffer> } | { missing: number[] };

/** What is fixed once `initialize` has run, and the step. */
type Loaded = {
  geometry: ShardGeometry;
  keys: RunKeys;
  excluded: ReadonlySet<string>;
  /** The step of the parameters; updates so far. */
  step: number;
  ended: boolean;
  snapshotStep: number;
};

export class ParameterShard extends DurableObject<{ BUCKET: R2Bucket }> {
  readonly #sql = this.ctx.storage.sql;
  readonly #log = new PushLog(this.#sql);
  readonly #snapshots = new SnapshotStore(this.#sql);
  readonly #pins = new PinnedState(this.#sql);
  readonly #resident = new ResidentShard(
    this.ctx.id.toString(),
    this.#log,
    this.#snapshots,
  );
  #loaded: Loaded | undefined;
  /** Of the arena, for an update. */
  #updateBytes: number | undefined;

  /** Frames, as bodies: `pullFrame` and `pushFrame` are the other end. */
  override async fetch(request: Request): Promise<Response> {
    const [, , step, microbatch] = new URL(request.url).pathname.split("/");
    const caller = request.headers.get("Caller")!;
    if (request.method === "GET") {
      const result = await toResult(() => this.#pull(caller, Number(step)));
      return result.ok ? result.value : Response.json(result, { status: 409 });
    }
    const declared = request.headers.get("Frame-Bytes") || undefined;
    const result = await toResult(() =>
      this.#push(
        caller,
        request.headers.get("Lease-Key") ?? undefined,
        Number(step),
        Number(microbatch),
        request.body,
        declared === undefined ? undefined : Number(declared),
      ),
    );
    if (!result.ok) await discard(request.body).catch(() => {});
    return Response.json(result);
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
      if (SHARD_SCHEMA.open(this.ctx.storage)) return this.#rekey(keys);
      const row = { shard: index, config: JSON.stringify(config) };
      const geometry = geometryOf(row);
      const state = await this.#imported(geometry);
      // While they were read, another call may have been here.
      if (SHARD_SCHEMA.open(this.ctx.storage)) return this.#rekey(keys);
      this.ctx.storage.transactionSync(() => {
        SHARD_SCHEMA.create(this.#sql);
        this.#sql.exec(
          "INSERT INTO shard VALUES (?, ?, 0, 0, ?, ?)",
          index,
          row.config,
          keys.creation,
          keys.secret,
        );
        const step = config.from?.resumed?.step ?? 0;
        if (state) this.#snapshots.write(geometry, state, step);
      });
    });
  }

  #rekey({ creation, secret }: RunKeys): void {
    const { keys, step } = this.#load();
    if (keys.creation === creation && keys.secret === secret) return;
    this.ctx.storage.transactionSync(() => {
      this.#sql.exec(
        "UPDATE shard SET creation = ?, secret = ?",
        creation,
        secret,
      );
      this.#log.discard(step);
    });
    this.#loaded = undefined;
  }

  /** Take nothing of these authors, and void what they have pushed that is not committed. Repeating it changes nothing. */
  exclude(authors: string[]): Promise<Result<void>> {
    return toResult(() => {
      const { step } = this.#load();
      this.ctx.storage.transactionSync(() => {
        this.#sql.exec("DELETE FROM excluded");
        for (const author of authors)
          this.#sql.exec("INSERT INTO excluded VALUES (?)", author);
        this.#log.discard(step, authors);
      });
      this.#loaded = undefined;
    });
  }

  /** The shard's range of what the run goes on from; undefined where parameters are drawn. */
  async #imported(geometry: ShardGeometry): Promise<ShardState | undefined> {
    const { from } = geometry.config;
    const { start, length } = geometry.range;
    if (from === undefined) return undefined;
    // Parameters, and two moments of each at most.
    const reservation = await isolateMemory.reserve(3 * 4 * length);
    try {
      const model = await openPinned(this.env.BUCKET, from);
      if (!from.resumed)
        return stateFrom(geometry, await model.read(start, start + length));
      const vectors: Float32Array<ArrayBuffer>[] = [];
      for (const { start: first, length: own, moment } of stateParts(geometry))
        vectors.push(
          await model.read(start + first, start + first + own, moment),
        );
      return stateOf(geometry, vectors);
    } finally {
      reservation.release();
    }
  }

  /**
   * Store one microbatch's gradient; it is on disk once this returns. `duplicate`: the same bytes
   * were here before. The body is read when nothing else speaks against it.
   */
  async #push(
    caller: string,
    key: string | undefined,
    step: number,
    microbatch: number,
    body: ReadableStream<Uint8Array> | null,
    declaredBytes: number | undefined,
  ): Promise<{ duplicate: boolean }> {
    const { keys, ended } = this.#load();
    checkRunning(ended);
    checkMicrobatch(this.#load().geometry, microbatch);
    const leased = { kind: "train", step, index: microbatch } as const;
    const author = await authorOfKey(keys, caller, leased, key);
    this.#checkPush(author, step, microbatch);
    const reservation = await isolateMemory.reserve(
      declaredBytes ?? MAX_FRAME_BYTES,
    );
    try {
      const bytes = await readFrame(body, declaredBytes, () =>
        reservation.touch(),
      );
      try {
        return this.#store(author, step, microbatch, await decodeFrame(bytes));
      } finally {
        free(bytes);
      }
    } finally {
      reservation.release();
    }
  }

  /** The author's push is one that the run may take; returns the digest of what it must be, if that is known. */
  #checkPush(
    author: string,
    step: number,
    microbatch: number,
  ): string | undefined {
    const { ended, excluded, geometry, step: current } = this.#load();
    checkRunning(ended);
    checkMicrobatch(geometry, microbatch);
    checkExcluded(excluded, author);
    const known =
      step < current
        ? this.#log.keptDigest(step, microbatch)
        : this.#log.digest(step, microbatch, author);
    if (known === undefined) checkStep(current, step, "future_step");
    return known;
  }

  #store(
    author: string,
    step: number,
    microbatch: number,
    frame: Frame,
  ): { duplicate: boolean } {
    const known = this.#checkPush(author, step, microbatch);
    checkFrame(this.#load().geometry, step, microbatch, frame);
    if (known === frame.digest) return { duplicate: true };
    if (known !== undefined) {
      throw new AppError(
        "different_bytes",
        `Expected the bytes that step ${step}, microbatch ${microbatch} already has of this author, or has taken, SHA-256 ${known}; got ${frame.digest}`,
      );
    }
    const duplicate = this.ctx.storage.transactionSync(() =>
      this.#log.store(frame, author),
    );
    return { duplicate };
  }

  /** The frame of the parameters at exactly `step`: f32 for recipe `f32`, else bf16. */
  async #pull(caller: string, step: number): Promise<Response> {
    const { geometry, step: current, keys, excluded } = this.#load();
    checkCreation(keys, caller);
    checkExcluded(excluded, caller);
    checkStep(current, step, "step_not_reached");
    const frame =
      this.#resident.frame(step) ??
      this.#resident.encode(geometry, this.#state(), step);
    return new Response(await frame);
  }

  /** Squared norms of the mean of these pushes by chunk: their digests, by microbatch. Changes nothing. */
  prepare(
    step: number,
    taken: readonly (string | null)[],
  ): Promise<Result<Prepared>> {
    return toResult(() => {
      const { geometry, step: current } = this.#load();
      checkStep(current, step, "future_step");
      const found = this.#log.find(step, taken);
      if ("missing" in found) return found;
      return { norms: this.#resident.norms(geometry, step, found.variants) };
    });
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
    });
  }

  #apply(update: Update, taken: readonly (string | null)[]): void {
    const loaded = this.#load();
    if (update.step < loaded.step) return;
    checkStep(loaded.step, update.step, "future_step");
    const found = this.#log.find(update.step, taken);
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
  }

  /**
   * Set the parameters of `step` aside for a checkpoint, and where it is to have all state, the moments. Repeating
   * it changes nothing.
   */
  pin(step: number, isFull: boolean): Promise<Result<void>> {
    return toResult(() => {
      const { step: current, geometry } = this.#load();
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

  /** f32 `[row · 256 Ki, …)` of a part of the shard's state at a pinned step. */
  pinned(step: number, part: string, row: number): Promise<Result<Uint8Array>> {
    return toResult(() => {
      this.#load();
      const bytes = this.#pins.row(step, part, row);
      if (bytes) return bytes;
      throw new AppError(
        "step_gone",
        `Expected step ${step} to be pinned; ask for the checkpoint again`,
      );
    });
  }

  /** The run has ended: take no more pushes, keep the parameters, let the log go. */
  end(): Promise<Result<void>> {
    return toResult(() => {
      const loaded = this.#load();
      if (loaded.ended) return;
      const state = this.#state();
      this.ctx.storage.transactionSync(() => {
        this.#writeSnapshot(loaded, state);
        this.#log.clear();
        this.#sql.exec("UPDATE shard SET ended = 1");
      });
      loaded.ended = true;
    });
  }

  /** Forget everything. */
  async destroy(): Promise<void> {
    this.#resident.drop();
    this.#log.forget();
    this.#loaded = undefined;
    await this.ctx.storage.deleteAll();
  }

  #load(): Loaded {
    if (this.#loaded) return this.#loaded;
    if (!SHARD_SCHEMA.open(this.ctx.storage)) {
      throw new AppError(
        "shard_not_found",
        "Expected a shard of a run, got one that no run has",
      );
    }
    const row = this.#sql.exec<ShardRow>("SELECT * FROM shard").one();
    if (row.outdated === 1) throw outdatedRun();
    const { step } = this.#snapshots.pointer();
    this.#loaded = {
      geometry: geometryOf(row),
      keys: { creation: row.creation ?? "", secret: row.secret ?? "" },
      excluded: new Set(
        Array.from(
          this.#sql.exec<{ author: string }>("SELECT author FROM excluded"),
          ({ author }) => author,
        ),
      ),
      step: step + this.#snapshots.updates().length,
      ended: row.ended === 1,
      snapshotStep: step,
    };
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

  #isSnapshotDue({ geometry, step, snapshotStep }: Loaded): boolean {
    return (
      step - snapshotStep >= geometry.config.snapshotSteps ||
      this.#log.bytes() >= MAX_LOG_BYTES
    );
  }

  /** Called inside a transaction. */
  #writeSnapshot(loaded: Loaded, state: ShardState): void {
    this.#snapshots.write(loaded.geometry, state, loaded.step);
    this.#log.dropBelow(loaded.step);
    loaded.snapshotStep = loaded.step;
  }
}
