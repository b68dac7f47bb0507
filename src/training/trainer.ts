/**
 * The loop of every trainer. A lease names a microbatch; parameters come from the shards at the
 * lease's step, the gradient goes back to them, and the completion, once every shard has
 * acknowledged, brings the next lease. A crash anywhere only loses a lease, which is given again.
 */
import { AppError } from "../api/errors.ts";
import { sealFrame } from "../api/frame.ts";
import {
  hasEnded,
  type Lease,
  type LeaseRequest,
  type LeaseResponse,
  type RunState,
  type ShardRange,
} from "../api/types.ts";
import { PackedWeights } from "../model/packed-weights.ts";
import { readBatch } from "./data.ts";
import { type TrainerMemory, trainerMemory } from "./memory.ts";
import {
  computeMicrobatch,
  type RunPlan,
  type StepParameters,
} from "./microbatch.ts";
import type { TrainingService } from "./service.ts";
import { TokenCache } from "./token-cache.ts";

/** Why a trainer's loop returned. */
export type TrainingOutcome = "ended" | "stopped" | "out-of-budget";

export type TrainingBounds = {
  signal?: AbortSignal;
  /** Stop taking leases after so long. */
  budgetMs?: number;
};

/** Refusals that say no more than that the lease is old: take another. */
const OLD_LEASE = new Set(["step_gone", "run_ended"]);

/** What a trainer has of its run as soon as it has a lease. */
type Work = {
  plan: RunPlan;
  memory: TrainerMemory;
  packedWeights: PackedWeights;
  tokens: TokenCache;
};

/** One trainer of one run. `train` may be called again: it goes on where it stopped. */
export class RunTrainer {
  readonly #service: TrainingService;
  readonly #identity: LeaseRequest;
  #work: Work | undefined;
  #pulled: StepParameters | undefined;
  #next: Lease | null = null;
  #state: RunState | undefined;

  constructor(service: TrainingService, identity: LeaseRequest) {
    this.#service = service;
    this.#identity = identity;
  }

  /** The run's state as last heard. */
  get state(): RunState | undefined {
    return this.#state;
  }

  /** Compute leases until the run has ended, the signal comes or the budget is spent. */
  async train({
    signal,
    budgetMs = Infinity,
  }: TrainingBounds = {}): Promise<TrainingOutcome> {
    const endMs = Date.now() + budgetMs;
    while (!signal?.aborted) {
      if (Date.now() >= endMs) return "out-of-budget";
      const lease =
        this.#next ?? this.#heard(await this.#service.lease(this.#identity));
      this.#next = null;
      if (lease) await this.#computeUnlessOld(lease);
      if (this.#state && hasEnded(this.#state)) {
        this.close();
        return "ended";
      }
    }
    return "stopped";
  }

  /** Let go of the memory that it holds between leases. `train` takes it again. */
  close(): void {
    this.#work?.packedWeights.free();
    this.#work = undefined;
    this.#pulled = undefined;
  }

  async #computeUnlessOld(lease: Lease): Promise<void> {
    try {
      this.#next = await this.#compute(lease);
    } catch (error) {
      if (!(error instanceof AppError && OLD_LEASE.has(error.code)))
        throw error;
    }
  }

  /** One lease; returns the next. */
  async #compute(lease: Lease): Promise<Lease | null> {
    const work = (this.#work ??= await this.#begin());
    const { plan, memory, tokens } = work;
    const { config } = plan;
    const [parameters, batch] = await Promise.all([
      this.#pull(work, lease.step),
      readBatch(config, lease, (start, length) => tokens.read(start, length)),
    ]);
    const {
      lossSum,
      tokens: counted,
      frames,
    } = computeMicrobatch(plan, parameters, batch, lease, memory.keeps);
    await Promise.all(
      frames.map((frame, index) =>
        this.#push(plan, plan.shards[index]!, lease, frame),
      ),
    );
    return this.#heard(
      await this.#service.complete(lease, {
        trainer: this.#identity.trainer,
        bootId: this.#identity.bootId,
        lossSum: Number.isFinite(lossSum) ? lossSum : null,
        tokens: counted,
      }),
    );
  }

  async #begin(): Promise<Work> {
    const { config, shards } = await this.#service.status();
    const memory = trainerMemory(config);
    return {
      plan: { config, shards },
      memory,
      packedWeights: new PackedWeights(memory.panelBytes),
      tokens: new TokenCache(config.dataset.tokens, (start, length) =>
        this.#service.tokens(config.dataset, start, length),
      ),
    };
  }

  async #pull(
    { plan, packedWeights }: Work,
    step: number,
  ): Promise<StepParameters> {
    if (this.#pulled?.step === step) return this.#pulled;
    // Let go of the old step first, so that two never are in memory.
    this.#pulled = undefined;
    packedWeights.clear();
    const frames = await Promise.all(
      plan.shards.map((shard) => this.#service.pull(shard.index, step)),
    );
    this.#pulled = { step, frames, packedWeights };
    return this.#pulled;
  }

  /** `bytes` have room for the header, and are the frame's afterwards. */
  async #push(
    { config }: RunPlan,
    { index, start, length }: ShardRange,
    { step, index: microbatch }: Lease,
    bytes: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    const frame = await sealFrame(
      {
        kind: "gradient",
        dtype: config.gradientDtype,
        step,
        microbatch,
        start,
        length,
      },
      bytes,
    );
    await this.#service.push(index, step, microbatch, frame);
  }

  #heard({ state, lease }: LeaseResponse): Lease | null {
    this.#state = state;
    return lease;
  }
}
