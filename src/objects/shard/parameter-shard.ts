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
import type { ShardGeometry, ShardState } from "../../training/shard-state.ts";
import { updateArenaBytes } from "../../training/shard-update.ts";
import { outdatedRun } from "../platform/schema.ts";
import { openPinned } from "../platform/stored-model.ts";
import { discard, MAX_FRAME_BYTES, readFrame } from "./frame-body.ts";
import { geometryOf, type ShardRow } from "./moments-by-group.ts";
import { PinnedParameters } from "./pinned-parameters.ts";
import { PushLog } from "./push-log.ts";
import { ResidentShard } from "./resident-shard.ts";
import { stateFrom } from "../../training/shard-state.ts";
import {
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

/** The commit's first phase: the norms, or the microbatches whose push is not here. */
export type Prepared =
  { norms: Float64Array<ArrayBuffer> } | { missing: number[] };

/** What is fixed once `initialize` has run, and the step. */
type Loaded = {
  geometry: ShardGeometry;
  /** The step of the parameters; updates so far. */
  step: number;
  ended: boolean;
  snapshotStep: number;
};

export class ParameterShard extends DurableObject<{ BUCKET: R2Bucket }> {
  readonly #sql = this.ctx.storage.sql;
  readonly #log = new PushLog(this.#sql);
  readonly #snapshots = new SnapshotStore(this.#sql);
  readonly #pins = new PinnedParameters(this.#sql);
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
    if (request.method === "GET") {
      const result = await toResult(() => this.#pull(Number(step)));
      return result.ok ? result.value : Response.json(result, { status: 409 });
    }
    const declared = request.headers.get("Frame-Bytes") || undefined;
    const result = await toResult(() =>
      this.#push(
        Number(step),
        Number(microbatch),
        request.body,
        declared === undefined ? undefined : Number(declared),
      ),
    );
    if (!result.ok) await discard(request.body).catch(() => {});
    return Response.json(result);
  }

  /** Become shard `index` of a run, at step 0. Repeating it changes nothing. */
  initialize(config: RunConfig, index: number): Promise<Result<void>> {
    return toResult(async () => {
      if (SHARD_SCHEMA.open(this.ctx.storage)) return;
      const row = { shard: index, config: JSON.stringify(config) };
      const geometry = geometryOf(row);
      const parameters = await this.#imported(geometry);
      // While they were read, another call may have been here.
      if (SHARD_SCHEMA.open(this.ctx.storage)) return;
      this.ctx.storage.transactionSync(() => {
        SHARD_SCHEMA.create(this.#sql);
        this.#sql.exec(
          "INSERT INTO shard VALUES (?, ?, 0, 0)",
          index,
          row.config,
        );
        if (parameters)
          this.#snapshots.write(geometry, stateFrom(geometry, parameters), 0);
      });
    });
  }

  /** The shard's range of the model that the run goes on from; undefined where parameters are drawn. */
  async #imported({
    config: { from },
    range: { start, length },
  }: ShardGeometry): Promise<Float32Array<ArrayBuffer> | undefined> {
    if (from === undefined) return undefined;
    // Parameters, and two moments of each at most.
    const reservation = await isolateMemory.reserve(3 * 4 * length);
    try {
      const model = await openPinned(this.env.BUCKET, from);
      return await model.parameters(start, start + length);
    } finally {
      reservation.release();
    }
  }

  /**
   * Store one microbatch's gradient; it is on disk once this returns. `duplicate`: the same bytes
   * were here before, and nothing has changed. The body is read when nothing else speaks against it.
   */
  async #push(
    step: number,
    microbatch: number,
    body: ReadableStream<Uint8Array> | null,
    declaredBytes: number | undefined,
  ): Promise<{ duplicate: boolean }> {
    this.#checkPush(step, microbatch);
    const reservation = await isolateMemory.reserve(
      declaredBytes ?? MAX_FRAME_BYTES,
    );
    try {
      const bytes = await readFrame(body, declaredBytes, () =>
        reservation.touch(),
      );
      try {
        return this.#store(step, microbatch, await decodeFrame(bytes));
      } finally {
        free(bytes);
      }
    } finally {
      reservation.release();
    }
  }

  /** The push is one that the run may take; returns the digest of one that is here. */
  #checkPush(step: number, microbatch: number): string | undefined {
    const loaded = this.#load();
    checkRunning(loaded.ended);
    checkMicrobatch(loaded.geometry, microbatch);
    const known = this.#log.digest(step, microbatch);
    if (known === undefined) checkStep(loaded.step, step, "future_step");
    return known;
  }

  #store(
    step: number,
    microbatch: number,
    frame: Frame,
  ): { duplicate: boolean } {
    const known = this.#checkPush(step, microbatch);
    checkFrame(this.#load().geometry, step, microbatch, frame);
    if (known === frame.digest) return { duplicate: true };
    if (known !== undefined) {
      throw new AppError(
        "different_bytes",
        `Expected the bytes that step ${step}, microbatch ${microbatch} already has, SHA-256 ${known}; got ${frame.digest}`,
      );
    }
    this.ctx.storage.transactionSync(() => this.#log.store(frame));
    return { duplicate: false };
  }

  /** The frame of the parameters at exactly `step`: f32 for recipe `f32`, else bf16. */
  async #pull(step: number): Promise<Response> {
    const { geometry, step: current } = this.#load();
    checkStep(current, step, "step_not_reached");
    const frame =
      this.#resident.frame(step) ??
      this.#resident.encode(geometry, this.#state(), step);
    return new Response(await frame);
  }

  /** Squared norms of the step's mean gradient by chunk; changes nothing. */
  prepare(step: number): Promise<Result<Prepared>> {
    return toResult(() => {
      const { geometry, step: current } = this.#load();
      checkStep(current, step, "future_step");
      const missing = this.#log.missing(step, geometry.config.microbatches);
      if (missing.length > 0) return { missing };
      return { norms: this.#resident.norms(geometry, step) };
    });
  }

  /** Apply the update of `update.step`, so that the shard reaches the next. Idempotent by step. */
  apply(update: Update): Promise<Result<void>> {
    return toResult(async () => {
      const { geometry } = this.#load();
      this.#updateBytes ??= updateArenaBytes(geometry);
      const { memory } = kernels().arena;
      const growth = this.#updateBytes - memory.buffer.byteLength;
      const reservation = await isolateMemory.reserve(Math.max(0, growth));
      try {
        this.#apply(update);
      } finally {
        reservation.release();
      }
    });
  }

  #apply(update: Update): void {
    const loaded = this.#load();
    if (update.step < loaded.step) return;
    checkStep(loaded.step, update.step, "future_step");
    const state = this.#state();
    try {
      this.#resident.replay(loaded.geometry, state, update);
      this.ctx.storage.transactionSync(() => {
        this.#snapshots.record(update);
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

  /** Set the parameters of `step` aside for a checkpoint. Repeating it changes nothing. */
  pin(step: number): Promise<Result<void>> {
    return toResult(() => {
      const { step: current } = this.#load();
      if (this.#pins.has(step)) return;
      checkStep(current, step, "step_not_reached");
      const { parameters } = this.#state();
      this.ctx.storage.transactionSync(() =>
        this.#pins.write(step, parameters),
      );
    });
  }

  /** f32 parameters `[row · 256 Ki, …)` of the shard's range at a pinned step. */
  pinned(step: number, row: number): Promise<Result<Uint8Array>> {
    return toResult(() => {
      this.#load();
      const bytes = this.#pins.row(step, row);
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
