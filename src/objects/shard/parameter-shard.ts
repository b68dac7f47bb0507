/**
 * One range of the flat parameter vector. Gradients are pushed here, and logged before they are acknowledged. `Run`
 * then asks for squared norms (`prepare`) and has the update applied (`apply`); occasional snapshots bound the log.
 * Storage is authoritative: the state in memory is the latest snapshot with the logged updates replayed, bit for bit,
 * and may be dropped at any time.
 */
import { DurableObject } from "cloudflare:workers";
import { type Result, toResult } from "../../api/errors.ts";
import { FRAME_BASE } from "../../api/frame-delta.ts";
import type { RunConfig } from "../../api/run-config.ts";
import type { Update } from "../../training/optimizer.ts";
import { stateParts, vectorsOf } from "../../training/shard-state.ts";
import type { RunKeys } from "../platform/author.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { CurrentState, type Prepared, type Taken } from "./current-state.ts";
import { importedState } from "./imported-state.ts";
import { geometryOf } from "./moments-by-group.ts";
import { pastRow, pastSteps } from "./past-states.ts";
import {
  checkTimeline,
  PinnedState,
  stateGone,
  timelineOf,
} from "./pinned-state.ts";
import { PullDesk, untilPulled } from "./pull-desk.ts";
import { PushDesk } from "./push-desk.ts";
import { PushLog } from "./push-log.ts";
import { checkStep, REWINDS, WAIT_MS } from "./shard-frames.ts";
import { SHARD_SCHEMA } from "./shard-schema.ts";
import { SnapshotStore } from "./snapshot-store.ts";
import { StepWaiters } from "./step-waiters.ts";
import type { Gathering } from "./subtree.ts";
import { SubtreeSums } from "./subtree-sums.ts";

export class ParameterShard
  extends DurableObject<Pick<ObjectBindings, "BUCKET" | "SUBTREE">>
  implements Gathering
{
  readonly #sql = this.ctx.storage.sql;
  readonly #log = new PushLog(this.#sql);
  readonly #snapshots = new SnapshotStore(this.#sql);
  readonly #pins = new PinnedState(this.#sql);
  readonly #waiters = new StepWaiters();
  readonly #current = new CurrentState(
    this.ctx.id.toString(),
    this.ctx.storage,
    this.#log,
    this.#snapshots,
  );
  readonly #pushes = new PushDesk(this.ctx.storage, this.#log, () =>
    this.#current.load(),
  );
  readonly #sums = new SubtreeSums(this.ctx, this.env, this.#log, () =>
    this.#current.load(),
  );
  readonly #pulls = new PullDesk(this.#current, this.#waiters);

  /** Frames as request and response bodies; `pullFrame` and `pushFrame` are the client side. */
  override async fetch(request: Request): Promise<Response> {
    const { headers, method, url } = request;
    if (method !== "GET") return (await this.#pushes.answer(request)).response;
    const [, , step] = new URL(url).pathname.split("/");
    const rewinds = headers.get(REWINDS);
    const result = await toResult(() =>
      this.#pulls.pull({
        caller: headers.get("Caller")!,
        step: Number(step),
        base: headers.get(FRAME_BASE) ?? undefined,
        rewinds: rewinds === null ? undefined : Number(rewinds),
        waitMs: Number(headers.get(WAIT_MS) ?? 0),
      }),
    );
    return result.ok ? result.value : Response.json(result, { status: 409 });
  }

  /** Runs `body`, then informs the subtrees of the shard's new state. Idempotent if `body` is. */
  #told(body: () => void | Promise<void>): Promise<Result<void>> {
    return toResult(async () => {
      await body();
      await this.#sums.tell();
    });
  }

  /**
   * Initializes this object as shard `index` of a run, at its first step. Idempotent; if the keys are new,
   * uncommitted pushes under the old keys are void.
   */
  initialize(
    config: RunConfig,
    index: number,
    keys: RunKeys,
  ): Promise<Result<void>> {
    return this.#told(async () => {
      if (SHARD_SCHEMA.open(this.ctx.storage)) return this.#rekey(keys);
      const row = { shard: index, config: JSON.stringify(config) };
      const geometry = geometryOf(row);
      const state = await importedState(this.env.BUCKET, geometry);
      // Another call may have initialized it during the `await`.
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
    });
  }

  #rekey({ creation, secret }: RunKeys): void {
    const { keys, step } = this.#current.load();
    if (keys.creation === creation && keys.secret === secret) return;
    this.ctx.storage.transactionSync(() => {
      this.#writeKeys({ creation, secret });
      this.#log.discard(step);
    });
    this.#current.reload();
  }

  /** Called inside a transaction. */
  #writeKeys({ creation, secret }: RunKeys): void {
    this.#sql.exec(
      "UPDATE shard SET creation = ?, secret = ?",
      creation,
      secret,
    );
  }

  /** The steps before the present one whose full state is kept, in order. */
  states(): Promise<Result<number[]>> {
    return toResult(() => {
      const { geometry, step } = this.#current.load();
      return pastSteps(geometry, this.#snapshots).filter((past) => past < step);
    });
  }

  /**
   * Rewinds to `step`, which is the present one or among `states`; pushes and updates from it on are void.
   * Idempotent, since each rewind has new keys.
   */
  goBack(step: number, keys: RunKeys, rewinds: number): Promise<Result<void>> {
    return this.#told(() => {
      const { step: current, keys: before } = this.#current.load();
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
      this.#current.forget();
      this.#waiters.wakeAll();
    });
  }

  /** Refuses these authors from now on, and voids their uncommitted pushes. Idempotent. */
  exclude(authors: string[]): Promise<Result<void>> {
    return this.#told(() => {
      const { step } = this.#current.load();
      this.ctx.storage.transactionSync(() => {
        this.#sql.exec("DELETE FROM excluded");
        for (const author of authors)
          this.#sql.exec("INSERT INTO excluded VALUES (?)", author);
        this.#log.discard(step, authors);
      });
      this.#current.reload();
      this.#waiters.wakeAll();
    });
  }

  /** The first phase of the commit. Changes nothing. */
  prepare(step: number, taken: Taken): Promise<Result<Prepared>> {
    return toResult(async () => {
      const missing = await this.#sums.gather(step, taken);
      if (missing.length > 0) return { missing };
      return this.#current.prepare(step, this.#sums.logged(taken));
    });
  }

  /** A subtree has all its pushes of a step: fetches their sum before a commit asks for it. */
  gatherOne(
    step: number,
    subtree: number,
    digests: Taken,
  ): Promise<Result<number[]>> {
    return toResult(() => this.#sums.gatherOne(step, subtree, digests));
  }

  /** The second phase of the commit: the shard reaches the next step. Idempotent by step. */
  apply(update: Update, taken: Taken): Promise<Result<void>> {
    return toResult(async () => {
      await this.#current.apply(update, this.#sums.logged(taken));
      this.#pulls.expect(update.step + 1);
      this.#waiters.wakeAll();
      if (this.#current.isLogLong) this.ctx.waitUntil(this.#shortenLog());
      await this.#sums.tell({ step: update.step, taken });
    });
  }

  /**
   * Runs while trainers compute, since they would wait for it in a commit, or in a pull from any shard that shares this
   * thread.
   */
  async #shortenLog(): Promise<void> {
    await untilPulled();
    // The shard may have been destroyed meanwhile.
    await toResult(() => this.#current.shortenLog());
  }

  /** Pins the parameters of `step` for a checkpoint, and with `isFull` the moments. Idempotent. */
  pin(step: number, isFull: boolean): Promise<Result<void>> {
    return toResult(() => {
      const { step: current, geometry } = this.#current.load();
      // A kept state need not be pinned, unless it is of the present step, whose snapshot may be dropped while it is
      // read.
      if (step < current && this.#isPast(step)) return;
      const parts = stateParts(geometry);
      const wanted = isFull ? parts : parts.slice(0, 1);
      if (wanted.every(({ name }) => this.#pins.has(step, name))) return;
      checkStep(current, step, "step_not_reached");
      const vectors = vectorsOf(this.#current.state());
      this.ctx.storage.transactionSync(() => {
        for (const [index, { name }] of wanted.entries())
          this.#pins.write(step, name, vectors[index]!);
      });
    });
  }

  /**
   * Row `row` of a part of the shard's state (f32 elements from `row` · 256 Ki on) at a pinned or kept step.
   * `timeline` makes sure that it is of this run, and of the time since its last rewind. Errors: `step_gone`
   */
  pinned(
    timeline: string,
    step: number,
    part: string,
    row: number,
  ): Promise<Result<Uint8Array>> {
    return toResult(() => {
      const { geometry, keys, rewinds } = this.#current.load();
      checkTimeline(timelineOf(keys, rewinds), timeline);
      const bytes =
        this.#pins.row(step, part, row) ??
        pastRow(geometry, this.#snapshots, { step, part, row });
      if (bytes) return bytes;
      throw stateGone(`the state of step ${step} was replaced by later ones`);
    });
  }

  /** The run has ended: refuses pushes, keeps the parameters, drops the log. */
  end(): Promise<Result<void>> {
    return this.#told(() => {
      if (this.#current.load().ended) return;
      this.#current.end();
      this.#waiters.wakeAll();
    });
  }

  /** Deletes everything. */
  async destroy(): Promise<void> {
    await this.#sums.destroy();
    this.#log.forget();
    this.#current.forget();
    await this.ctx.storage.deleteAll();
    this.#waiters.wakeAll();
  }

  #isPast(step: number): boolean {
    return pastSteps(this.#current.load().geometry, this.#snapshots).includes(
      step,
    );
  }
}
