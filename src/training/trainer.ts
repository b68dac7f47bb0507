/**
 * The loop of every trainer. A lease names a microbatch; parameters come from the shards at the
 * lease's step, the gradient goes back to them, and the completion, once every shard has
 * acknowledged, brings the next lease. A crash anywhere only loses a lease, which is given again.
 */
import { AppError } from "../api/errors.ts";
import { frameDigest, sealFrame } from "../api/frame.ts";
import type {
  Completion,
  Lease,
  LeaseRequest,
  LeaseResponse,
} from "../api/lease.ts";
import { hasEnded, type RunState, type ShardRange } from "../api/run-status.ts";
import { free } from "../memory/free.ts";
import { countedBytes, readBatch } from "./data.ts";
import { type TrainerMemory, trainerMemory } from "./memory.ts";
import { computeMicrobatch, type RunPlan } from "./microbatch.ts";
import { PhaseClock } from "./phase-clock.ts";
import { isOldLease } from "./refusals.ts";
import type { TrainingService } from "./service.ts";
import { StepPulls } from "./step-pulls.ts";
import { TokenCache } from "./token-cache.ts";
import { readTokenLengths } from "./token-lengths.ts";

/** Why a trainer's loop returned. */
export type TrainingOutcome = "ended" | "stopped" | "out-of-budget";

export type TrainingBounds = {
  signal?: AbortSignal;
  /** Stop taking leases after so long. */
  budgetMs?: number;
  /** Told of each microbatch that the run has taken. */
  onCompleted?: (lease: Lease, completion: Completion) => void;
};

/** The account of a trainer that shares its isolate with others. */
export type TrainerAccount = {
  /** A microbatch begins; resolves when there is room for it. Errors: `unavailable` */
  begin(memory: TrainerMemory): Promise<void>;
  /** It is over. What the next may use stays, until `drop` is called. */
  end(memory: TrainerMemory, drop: () => void): void;
};

/** What a trainer has of its run as soon as it has a lease. */
type Work = {
  createdMs: number;
  plan: RunPlan;
  memory: TrainerMemory;
  tokens: TokenCache;
  /** Bytes of each id. */
  tokenLengths: Uint8Array;
};

/** One trainer of one run. `train` may be called again: it goes on where it stopped. */
export class RunTrainer {
  readonly #service: TrainingService;
  readonly #identity: LeaseRequest;
  readonly #account: TrainerAccount | undefined;
  #work: Work | undefined;
  readonly #clock = new PhaseClock();
  readonly #pulls: StepPulls;
  #next: Lease | null = null;
  #state: RunState | undefined;
  #onCompleted: TrainingBounds["onCompleted"];

  constructor(
    service: TrainingService,
    identity: LeaseRequest,
    account?: TrainerAccount,
  ) {
    this.#service = service;
    this.#identity = identity;
    this.#account = account;
    this.#pulls = new StepPulls(service, this.#clock, account !== undefined);
  }

  /** The run's state as last heard. */
  get state(): RunState | undefined {
    return this.#state;
  }

  /** Compute leases until the run has ended, the signal comes or the budget is spent. */
  async train({
    signal,
    budgetMs = Infinity,
    onCompleted,
  }: TrainingBounds = {}): Promise<TrainingOutcome> {
    const endMs = Date.now() + budgetMs;
    this.#onCompleted = onCompleted;
    while (!signal?.aborted) {
      if (Date.now() >= endMs) return "out-of-budget";
      const lease =
        this.#next ?? this.#heard(await this.#service.lease(this.#identity));
      this.#next = null;
      if (lease) await this.#computeUnlessOld(lease);
      if (this.#state && hasEnded(this.#state)) {
        this.letGo();
        return "ended";
      }
    }
    return "stopped";
  }

  /** Let go of what the next microbatch of the step would have used. */
  letGo(): void {
    this.#pulls.letGo();
  }

  async #computeUnlessOld(lease: Lease): Promise<void> {
    try {
      this.#next = await this.#compute(lease);
    } catch (error) {
      if (!(error instanceof AppError && isOldLease(error))) throw error;
    }
  }

  /** One lease; returns the next. */
  async #compute(lease: Lease): Promise<Lease | null> {
    if ((lease.createdMs ?? this.#work?.createdMs) !== this.#work?.createdMs) {
      // Its run was removed, and another has its id.
      this.#work = undefined;
      this.letGo();
    }
    const work = (this.#work ??= await this.#begin());
    await this.#account?.begin(work.memory);
    try {
      return await this.#computeWith(work, lease);
    } finally {
      this.#account?.end(work.memory, () => this.letGo());
    }
  }

  async #computeWith(work: Work, lease: Lease): Promise<Lease | null> {
    const { plan, memory, tokens, tokenLengths } = work;
    const { config } = plan;
    this.#clock.lap("lease");
    const [parameters, batch] = await Promise.all([
      this.#pulls.pull(plan, lease, memory.panelBytes),
      readBatch(config, lease, (start, length) => tokens.read(start, length)),
    ]);
    this.#clock.lap("pull");
    const {
      lossSum,
      tokens: counted,
      frames,
    } = computeMicrobatch(plan, parameters, batch, lease, memory.keeps);
    this.#clock.lap("compute");
    const digests = await Promise.all(
      frames.map((frame, index) =>
        this.#push(plan, plan.shards[index]!, lease, frame),
      ),
    );
    this.#clock.lap("push");
    const completion: Completion = {
      trainer: this.#identity.trainer,
      bootId: this.#identity.bootId,
      lossSum: Number.isFinite(lossSum) ? lossSum : null,
      tokens: counted,
      bytes: countedBytes(batch.targets, tokenLengths),
      ...(lease.kind === "train" && { digests }),
      phases: this.#clock.take(),
    };
    // Whoever has the last may end the step with it.
    if (lease.kind === "train" && lease.index === config.microbatches - 1)
      this.#pulls.pullAhead(plan, lease);
    const response = await this.#service.complete(lease, completion);
    this.#onCompleted?.(lease, completion);
    if (!response.lease && response.state === "running")
      this.#pulls.pullAhead(plan, lease);
    return this.#heard(response);
  }

  async #begin(): Promise<Work> {
    const { config, shards, createdMs } = await this.#service.status();
    const memory = trainerMemory(config);
    return {
      createdMs,
      plan: { config, shards },
      memory,
      tokens: new TokenCache(config.dataset, (start, length) =>
        this.#service.tokens(config.dataset, start, length),
      ),
      tokenLengths: await readTokenLengths(this.#service, config.dataset),
    };
  }

  /** `bytes` have room for the header, and are the frame's afterwards. Returns its digest. */
  async #push(
    { config }: RunPlan,
    { index, start, length }: ShardRange,
    lease: Lease,
    bytes: Uint8Array<ArrayBuffer>,
  ): Promise<string> {
    const { step, index: microbatch } = lease;
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
    const digest = frameDigest(frame);
    await this.#service.push(index, lease, frame);
    this.#clock.pushed(frame.length);
    free(frame);
    return digest;
  }

  #heard({ state, lease }: LeaseResponse): Lease | null {
    this.#state = state;
    return lease;
  }
}
