/**
 * A shard's sums from its subtrees. They are stored in its log in place of pushes, each under the digests of the
 * pushes that it adds. So a commit gets exactly the pushes that it takes, or finds the sum missing, whenever the sum
 * was fetched.
 */
import { AppError, fromResult } from "../../api/errors.ts";
import type { RunConfig } from "../../api/run-config.ts";
import { payloadBytes } from "../../api/frame.ts";
import { free } from "../../memory/free.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import { loggedDtype } from "../../training/mean-gradient.ts";
import { subtreesOf } from "../../training/subtrees.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { Lock } from "../platform/lock.ts";
import type { Taken } from "./current-state.ts";
import { readFrame } from "./frame-body.ts";
import type { Loaded } from "./loaded-shard.ts";
import type { PushLog } from "./push-log.ts";
import { checkRunning, checkStep } from "./shard-frames.ts";
import { SHARD_SCHEMA } from "./shard-schema.ts";
import { pullSum, type SubtreeStub, subtreeStub } from "./subtree-stub.ts";

/** The author of sums in the log: never excluded, so a sum stays as long as its step. */
const AUTHOR = "subtree";

export class SubtreeSums {
  readonly #context: DurableObjectState;
  readonly #bindings: Pick<ObjectBindings, "SUBTREE">;
  readonly #log: PushLog;
  readonly #loaded: () => Loaded;
  /** Fetches one sum at a time, so that the memory is that of one push for any number of subtrees. */
  readonly #lock = new Lock();

  /** `loaded` returns the shard's present metadata. */
  constructor(
    context: DurableObjectState,
    bindings: Pick<ObjectBindings, "SUBTREE">,
    log: PushLog,
    loaded: () => Loaded,
  ) {
    this.#context = context;
    this.#bindings = bindings;
    this.#log = log;
    this.#loaded = loaded;
  }

  /** The digests under which the log has these: unchanged, or for each subtree those of its pushes joined. */
  logged(taken: Taken): Taken {
    const { config } = this.#loaded().geometry;
    if (!config.subtree) return taken;
    return subtreesOf(config).map(({ first, count }) =>
      taken.slice(first, first + count).join(" "),
    );
  }

  /** Fetches and stores all sums for a commit. Returns the microbatches whose push is missing in their subtree. */
  async gather(step: number, taken: Taken): Promise<number[]> {
    const { geometry } = this.#loaded();
    const missing = await Promise.all(
      subtreesOf(geometry.config).map(({ first, count }, index) =>
        this.gatherOne(step, index, taken.slice(first, first + count)),
      ),
    );
    return missing.flat();
  }

  /** The same for one subtree. */
  gatherOne(step: number, index: number, digests: Taken): Promise<number[]> {
    return this.#lock.run(async () => {
      this.#check(step);
      const digest = digests.join(" ");
      if (this.#log.has(step, index, digest)) return [];
      const { length } = this.#loaded().geometry.range;
      const bytes = payloadBytes("f32", length);
      const reservation = await isolateMemory.reserve(bytes);
      try {
        const sum = await pullSum(this.#stub(index), step, digests);
        if ("missing" in sum) return sum.missing;
        const payload = await readFrame(sum.body, bytes, () =>
          reservation.touch(),
        ).catch((cause: unknown) => {
          throw new AppError(
            "unavailable",
            `Expected the sum of subtree ${index} of step ${step}, got an incomplete one; repeat the request`,
            { cause },
          );
        });
        try {
          this.#store(step, index, digest, payload);
        } finally {
          free(payload);
        }
        return [];
      } finally {
        reservation.release();
      }
    });
  }

  #store(
    step: number,
    microbatch: number,
    digest: string,
    payload: Uint8Array<ArrayBuffer>,
  ): void {
    this.#check(step);
    const { config, range } = this.#loaded().geometry;
    const { length } = range;
    const dtype = loggedDtype(config);
    if (payload.length !== payloadBytes(dtype, length))
      throw new Error(`Expected a sum of ${length} values, got less`);
    this.#context.storage.transactionSync(() =>
      this.#log.store(
        { step, microbatch, digest, dtype, payload, length },
        AUTHOR,
      ),
    );
  }

  #check(step: number): void {
    const { step: current, ended } = this.#loaded();
    checkRunning(ended);
    checkStep(current, step, "future_step");
  }

  /** Informs the subtrees of the shard's state, and, after a commit, of the pushes that it took. Idempotent. */
  async tell(committed?: { step: number; taken: Taken }): Promise<void> {
    const { geometry, keys, excluded, step, rewinds, ended } = this.#loaded();
    const { config, range } = geometry;
    await Promise.all(
      subtreesOf(config).map(async ({ first, count }, index) => {
        const facts = {
          shard: this.#context.id.toString(),
          range: range.index,
          index,
          config,
          keys,
          excluded: [...excluded],
          step,
          rewinds,
          ended,
        };
        const ends = committed && {
          step: committed.step,
          taken: committed.taken.slice(first, first + count),
        };
        fromResult(await this.#stub(index).follow(facts, ends));
      }),
    );
  }

  /** Deletes all subtrees. */
  async destroy(): Promise<void> {
    if (!SHARD_SCHEMA.open(this.#context.storage)) return;
    const { config } = this.#context.storage.sql
      .exec<{ config: string }>("SELECT config FROM shard")
      .one();
    const subtrees = subtreesOf(JSON.parse(config) as RunConfig);
    await Promise.all(subtrees.map((_, index) => this.#stub(index).destroy()));
  }

  #stub(index: number): SubtreeStub {
    return subtreeStub(this.#bindings, this.#context.id.toString(), index);
  }
}
