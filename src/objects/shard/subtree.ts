/**
 * A subtree of the reduction tree, for one shard. Pushes of some neighbouring microbatches come here instead of to
 * the shard, and are logged before they are acknowledged. For a commit, it adds up the pushes taken and gives the
 * shard the sum, which the shard logs. It knows about its run what the shard sends it (`follow`), and nothing about
 * parameters.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError, type Result, toResult } from "../../api/errors.ts";
import type { RunConfig } from "../../api/run-config.ts";
import { kernels } from "../../kernels/runtime.ts";
import { free } from "../../memory/free.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import { writeInPieces } from "../../memory/shared-bytes.ts";
import {
  eachSlice,
  type MeanGradient,
  SLICE_LENGTH,
  summedGradient,
} from "../../training/mean-gradient.ts";
import { subtreesOf } from "../../training/subtrees.ts";
import type { RunKeys } from "../platform/author.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import type { Taken } from "./current-state.ts";
import type { Loaded } from "./loaded-shard.ts";
import { geometryOf } from "./moments-by-group.ts";
import { PushDesk } from "./push-desk.ts";
import { PushLog } from "./push-log.ts";
import { checkStep } from "./shard-frames.ts";
import { SUBTREE_SCHEMA } from "./subtree-schema.ts";

/** The facts that a shard sends. */
export type SubtreeFacts = {
  /** The shard's object id. */
  shard: string;
  /** The shard's index in the run. */
  range: number;
  /** The subtree's index. */
  index: number;
  config: RunConfig;
  keys: RunKeys;
  excluded: string[];
  step: number;
  rewinds: number;
  ended: boolean;
};

/** The method of a shard that a subtree calls. */
export type Gathering = {
  gatherOne(
    step: number,
    subtree: number,
    digests: Taken,
  ): Promise<Result<number[]>>;
};

export class Subtree extends DurableObject<
  Pick<ObjectBindings, "PARAMETER_SHARD">
> {
  readonly #sql = this.ctx.storage.sql;
  readonly #log = new PushLog(this.#sql);
  readonly #pushes = new PushDesk(this.ctx.storage, this.#log, () =>
    this.#load(),
  );
  readonly #key = `${this.ctx.id.toString()}/sum`;
  #loaded: (Loaded & { facts: SubtreeFacts }) | undefined;
  /** The sum computed ahead of a request, f32 [length of the range]. */
  #sum: { what: string; values: Float32Array<ArrayBuffer> } | undefined;

  #offered: string | undefined;

  /** Pushes and sums as bodies; `pushFrame` and `pullSum` are the client side. */
  override async fetch(request: Request): Promise<Response> {
    if (request.method === "POST") {
      const [, , step] = new URL(request.url).pathname.split("/");
      const taken = await request.json<Taken>();
      const result = await toResult(() => this.#pull(Number(step), taken));
      if (result.ok && "body" in result.value)
        return new Response(result.value.body);
      return Response.json(result, { status: 409 });
    }
    const { response, isNew, step } = await this.#pushes.answer(request);
    if (isNew) this.ctx.waitUntil(this.#offer(step));
    return response;
  }

  /**
   * Takes over the shard's facts; `committed` names a step and the pushes that its commit took. Idempotent; facts
   * older than the present ones are ignored.
   */
  follow(
    facts: SubtreeFacts,
    committed?: { step: number; taken: Taken },
  ): Promise<Result<void>> {
    return toResult(() => {
      const before = SUBTREE_SCHEMA.open(this.ctx.storage)
        ? this.#load()
        : undefined;
      if (before && isEarlier(facts, before.facts)) return;
      this.ctx.storage.transactionSync(() => {
        if (!before) SUBTREE_SCHEMA.create(this.#sql);
        this.#sql.exec("DELETE FROM subtree");
        this.#sql.exec("INSERT INTO subtree VALUES (?)", JSON.stringify(facts));
        if (before && committed) this.#end(committed, before.own.first);
        if (before && before.keys.secret !== facts.keys.secret)
          this.#log.discard(facts.step);
        if (facts.excluded.length > 0)
          this.#log.discard(facts.step, facts.excluded);
        if (facts.ended) this.#log.clear();
      });
      this.#forget();
    });
  }

  /** Keeps the digests of the pushes that a commit took, to answer repeated pushes. Called inside a transaction. */
  #end({ step, taken }: { step: number; taken: Taken }, first: number): void {
    const found = this.#log.find(step, taken, first);
    if ("variants" in found) this.#log.keep(step, found.variants, first);
    this.#log.forgetAuthors(step);
    this.#log.dropBelow(step + 1);
  }

  /** Deletes everything. */
  async destroy(): Promise<void> {
    this.#forget();
    await this.ctx.storage.deleteAll();
  }

  /**
   * If all pushes of a step are here, adds them up and offers the sum to the shard, before a commit asks for it. If
   * that fails, the commit asks.
   */
  async #offer(step: number): Promise<void> {
    try {
      const { own, facts } = this.#load();
      const digests = this.#log.firstDigests(step);
      const what = whatOf(step, digests);
      const isDue = step === facts.step && what !== this.#offered;
      if (digests.length < own.count || !isDue) return;
      this.#offered = what;
      // Answer the last push first.
      await scheduler.wait(0);
      this.#keepSum(step, digests);
      const { PARAMETER_SHARD } = this.env;
      const shard = PARAMETER_SHARD.get(
        PARAMETER_SHARD.idFromString(facts.shard),
      ) as unknown as Gathering;
      await shard.gatherOne(step, facts.index, digests);
    } catch {
      // If the shard or this object was reset meanwhile, nothing is lost.
    }
  }

  #keepSum(step: number, taken: Taken): void {
    const { geometry } = this.#load();
    const { length } = geometry.range;
    const sum = this.#summed(step, taken);
    this.#dropSum();
    if ("missing" in sum || !isolateMemory.hasRoom(4 * length)) return;
    const values = new Float32Array(length);
    isolateMemory.keep(this.#key, 4 * length, () => this.#dropSum());
    eachSlice(geometry, sum, (at, from, count) =>
      values.set(kernels().arena.f32(at, count), from),
    );
    this.#sum = { what: whatOf(step, taken), values };
  }

  /**
   * The sum as a stream of f32 [length of the range]; or the microbatches that have no such push. Errors: as
   * `checkStep`
   */
  #pull(
    step: number,
    taken: Taken,
  ): { body: ReadableStream } | { missing: number[] } {
    const { geometry, step: current } = this.#load();
    checkStep(current, step, "future_step");
    const sum = this.#summed(step, taken);
    if ("missing" in sum) return sum;
    const { readable, writable } = new FixedLengthStream(
      4 * geometry.range.length,
    );
    const writer = writable.getWriter();
    this.#write(writer, whatOf(step, taken), sum).catch((error: unknown) =>
      // The reader gets the error, unless it has gone.
      writer.abort(error).catch(() => {}),
    );
    return { body: readable };
  }

  /** Writes the sum slice by slice, from memory while it is there. */
  async #write(
    writer: WritableStreamDefaultWriter<Uint8Array>,
    what: string,
    sum: MeanGradient,
  ): Promise<void> {
    const { arena } = kernels();
    const { length } = this.#load().geometry.range;
    const slice = new Float32Array(Math.min(SLICE_LENGTH, length));
    try {
      for (let from = 0; from < length; from += SLICE_LENGTH) {
        const count = Math.min(SLICE_LENGTH, length - from);
        if (this.#sum?.what === what) {
          isolateMemory.touch(this.#key);
          slice.set(this.#sum.values.subarray(from, from + count));
        } else
          arena.scope(() => {
            const out = arena.allocF32(count);
            sum(out, from, count);
            slice.set(arena.f32(out, count));
          });
        await writeInPieces(writer, new Uint8Array(slice.buffer, 0, 4 * count));
      }
      await writer.close();
    } finally {
      free(slice);
    }
  }

  #summed(step: number, taken: Taken): MeanGradient | { missing: number[] } {
    const { geometry, own } = this.#load();
    const found = this.#log.find(step, taken, own.first);
    if ("missing" in found) return found;
    return summedGradient(geometry, step, own, (microbatch, slice) =>
      this.#log.read(
        step,
        microbatch,
        found.variants[microbatch - own.first]!,
        slice,
      ),
    );
  }

  /** Errors: `shard_not_found`, `state_version` */
  #load(): Loaded & { facts: SubtreeFacts } {
    this.#loaded ??= this.#read();
    return this.#loaded;
  }

  #read(): Loaded & { facts: SubtreeFacts } {
    if (!SUBTREE_SCHEMA.open(this.ctx.storage)) {
      throw new AppError(
        "shard_not_found",
        "Expected a subtree of an existing run's shard, got one that no run has",
      );
    }
    const row = this.#sql
      .exec<{ facts: string }>("SELECT facts FROM subtree")
      .one();
    const facts = JSON.parse(row.facts) as SubtreeFacts;
    const { config, range, keys, excluded, step, rewinds, ended } = facts;
    return {
      facts,
      geometry: geometryOf({ shard: range, config: JSON.stringify(config) }),
      own: subtreesOf(config)[facts.index]!,
      keys,
      excluded: new Set(excluded),
      step,
      rewinds,
      ended,
    };
  }

  /** Drops the cache; everything is read again from storage. */
  #forget(): void {
    this.#loaded = undefined;
    this.#log.forget();
    this.#dropSum();
  }

  #dropSum(): void {
    isolateMemory.letGo(this.#key);
    const sum = this.#sum;
    this.#sum = undefined;
    if (sum) free(sum.values);
  }
}

function whatOf(step: number, taken: Taken): string {
  return `${step} ${taken.join(" ")}`;
}

/** Whether `told` is older than `known`, since calls may arrive late. */
function isEarlier(told: SubtreeFacts, known: SubtreeFacts): boolean {
  if (told.rewinds !== known.rewinds) return told.rewinds < known.rewinds;
  return told.step < known.step;
}
