/**
 * The loop of every trainer. A lease names a microbatch; the trainer pulls the parameters of the lease's step from
 * the shards, pushes the gradient, and, when every shard has acknowledged, sends the completion, whose answer has the
 * next leases. A trainer that holds a second lease computes it while the first result is still being sent, and pauses
 * for its network connections meanwhile. A crash only loses leases, which are given out again.
 */
import { AppError } from "../api/errors.ts";
import type {
  Completion,
  Lease,
  LeaseRequest,
  LeaseResponse,
} from "../api/lease.ts";
import { hasEnded, type RunState } from "../api/run-status.ts";
import { type Steps, takeTurns } from "../kernels/steps.ts";
import { readBatch, toldLoss } from "./data.ts";
import { Delivery, digestsOf, sealGradient } from "./delivery.ts";
import {
  MAX_HOSTED_BYTES,
  type TrainerMemory,
  trainerMemory,
} from "./memory.ts";
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
  /** Take no more leases after this time. */
  budgetMs?: number;
  /** Called for each completion that the run accepted. */
  onCompleted?: (lease: Lease, completion: Completion) => void;
};

/** Resolves after the thread's other work, above all its sockets, has had a turn. */
export type Turn = () => Promise<void>;

/** Memory accounting of a trainer that shares its isolate with others. */
export type TrainerAccount = {
  /**
   * Called before a microbatch; resolves when its memory is reserved, in place of that of the previous one. Errors:
   * `unavailable`
   */
  begin(memory: TrainerMemory): Promise<void>;
  /** Called when nothing is being computed or sent. What the next microbatch may use is kept until `drop` is called. */
  end(memory: TrainerMemory, drop: () => void): void;
};

/** What a trainer knows about its run from its first lease on. */
type Work = {
  createdMs: number;
  plan: RunPlan;
  memory: TrainerMemory;
  tokens: TokenCache;
  /** Number of text bytes of each token id. */
  tokenLengths: Uint32Array;
};

/** One trainer of one run. `train` may be called again, and continues where it stopped. */
export class RunTrainer {
  readonly #service: TrainingService;
  readonly #identity: LeaseRequest;
  readonly #account: TrainerAccount | undefined;
  readonly #turn: Turn | undefined;
  readonly #memoryBytes: number;
  #work: Work | undefined;
  readonly #clock = new PhaseClock();
  readonly #pulls: StepPulls;
  /** Leases to compute next. */
  #leases: Lease[] = [];
  /** The lease being computed. */
  #current: Lease | undefined;
  /** The result being sent to the shards and the run. Only one at a time: the next waits for it. */
  #delivery: Delivery | undefined;
  /** Whether `account.begin` was called without `account.end`. */
  #hasBegun = false;
  /** While computing, which may be interrupted by turns, parameters must not be freed. */
  #isComputing = false;
  #letsGoAfter = false;
  /** Whether the trainer is idle until the delivery has ended. */
  #isWaiting = false;
  #state: RunState | undefined;
  #onCompleted: TrainingBounds["onCompleted"];

  /**
   * With `turn`, computing is interrupted regularly while a result is being sent. With `waitsAhead`, parameters are
   * requested before they exist. `memoryBytes`: with more, less is computed twice, and a result may be sent while the
   * next is computed.
   */
  constructor(
    service: TrainingService,
    identity: LeaseRequest,
    {
      account,
      turn,
      waitsAhead = true,
      memoryBytes = MAX_HOSTED_BYTES,
    }: {
      account?: TrainerAccount;
      turn?: Turn;
      waitsAhead?: boolean;
      memoryBytes?: number;
    } = {},
  ) {
    this.#service = service;
    this.#identity = identity;
    this.#account = account;
    this.#turn = turn;
    this.#memoryBytes = memoryBytes;
    const isNear = account !== undefined;
    this.#pulls = new StepPulls(service, this.#clock, { isNear, waitsAhead });
  }

  /** The run's state in its latest answer. */
  get state(): RunState | undefined {
    return this.#state;
  }

  /**
   * Computes leases until the run has ended, `signal` is aborted or the budget is spent. In the last case a result
   * may still be being sent: call `train` again, or `rest`.
   */
  async train({
    signal,
    budgetMs = Infinity,
    onCompleted,
  }: TrainingBounds = {}): Promise<TrainingOutcome> {
    const endMs = Date.now() + budgetMs;
    this.#onCompleted = onCompleted;
    try {
      while (!signal?.aborted) {
        if (Date.now() >= endMs) return "out-of-budget";
        const lease = this.#leases.shift();
        if (lease) await this.#unlessOld(() => this.#compute(lease));
        else await this.#ask();
        if (this.#state && hasEnded(this.#state)) {
          await this.rest();
          this.letGo();
          return "ended";
        }
      }
    } catch (error) {
      await this.rest().catch(() => {});
      this.#leases = [];
      throw error;
    }
    await this.rest().catch(() => {});
    return "stopped";
  }

  /** Waits until nothing is being sent. Errors: those of the service */
  async rest(): Promise<void> {
    try {
      await this.#delivered();
    } finally {
      this.#end();
    }
  }

  /** Frees the step's parameters and packed weights; if a microbatch is being computed, after it. */
  letGo(): void {
    if (this.#isComputing) this.#letsGoAfter = true;
    else this.#pulls.letGo();
  }

  /** Gets a lease: from the answer to the completion being sent, otherwise by asking the run. */
  async #ask(): Promise<void> {
    if (this.#delivery) return this.#delivered();
    this.#end();
    const request = { ...this.#identity, ...this.#wish() };
    this.#heard(await this.#service.lease(request));
  }

  /** Asks for a second lease if there is memory for it; not known before the first lease. */
  #wish(): { ahead?: true } {
    return this.#work?.memory.overlaps ? { ahead: true } : {};
  }

  #end(): void {
    if (this.#hasBegun)
      this.#account?.end(this.#work!.memory, () => this.letGo());
    this.#hasBegun = false;
  }

  /** Runs `act`; if the lease is outdated, drops all leases instead of throwing. */
  async #unlessOld(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof AppError && isOldLease(error))) throw error;
      this.#leases = [];
    }
  }

  /** Waits for the result being sent. Errors: those of the service, except for an outdated lease */
  async #delivered(): Promise<void> {
    const delivery = this.#delivery;
    if (!delivery) return;
    this.#isWaiting = true;
    try {
      await this.#unlessOld(() => this.#told(delivery));
    } finally {
      this.#isWaiting = false;
      this.#delivery = undefined;
    }
  }

  /** Computes one lease, and starts sending its result. */
  async #compute(lease: Lease): Promise<void> {
    this.#current = lease;
    try {
      if (
        (lease.createdMs ?? this.#work?.createdMs) !== this.#work?.createdMs
      ) {
        // The run was deleted, and another created with its id.
        await this.rest();
        this.#work = undefined;
        this.letGo();
      }
      const work = (this.#work ??= await this.#begin());
      await this.#account?.begin(work.memory);
      this.#hasBegun = true;
      await this.#computeWith(work, lease);
    } finally {
      this.#current = undefined;
    }
  }

  async #computeWith(work: Work, lease: Lease): Promise<void> {
    const { plan, memory, tokens, tokenLengths } = work;
    this.#clock.lap("lease");
    const [parameters, batch] = await Promise.all([
      this.#pulls.pull(plan, lease, memory.panelBytes),
      readBatch(plan.config, lease, (start, length) =>
        tokens.read(start, length),
      ),
    ]);
    this.#clock.lap("pull");
    const { frames, ...loss } = await this.#inTurns(
      computeMicrobatch(plan, parameters, batch, lease, memory.keeps),
    );
    this.#clock.lap("compute");
    const gradient = await sealGradient(plan, lease, frames);
    await this.#delivered();
    this.#clock.lap("push");
    const told = {
      trainer: this.#identity.trainer,
      bootId: this.#identity.bootId,
      ...toldLoss(loss, batch, tokenLengths),
      ...(lease.kind === "train" && { digests: digestsOf(gradient) }),
      ...this.#wish(),
      phases: this.#clock.take(),
    };
    this.#delivery = new Delivery(
      this.#service,
      plan,
      lease,
      gradient,
      told,
      () => {
        if (this.#isWaiting) this.#clock.lap("push", told.phases);
        // The last microbatch is likely to end the step.
        const { microbatches } = plan.config;
        if (lease.kind === "train" && lease.index === microbatches - 1)
          this.#pulls.pullAhead(plan, lease);
      },
    );
    // Computing blocks the thread's sockets: let the requests be written first.
    if (this.#leases.length > 0) await (this.#turn ?? nextTurn)();
  }

  /** Runs `steps`, with turns for the sockets while a result is being sent. */
  async #inTurns<T>(steps: Steps<T>): Promise<T> {
    this.#isComputing = true;
    try {
      return await takeTurns(steps, () =>
        this.#delivery?.isUnderway ? this.#turn?.() : undefined,
      );
    } finally {
      this.#isComputing = false;
      if (this.#letsGoAfter) this.letGo();
      this.#letsGoAfter = false;
    }
  }

  async #begin(): Promise<Work> {
    const { config, shards, createdMs } = await this.#service.status();
    const memory = trainerMemory(config, this.#memoryBytes);
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

  /** Takes the run's answer to a completion. Errors: those of the service */
  async #told({ lease, told, answer }: Delivery): Promise<void> {
    const response = await answer;
    this.#onCompleted?.(lease, told);
    if (!response.lease && response.state === "running")
      this.#pulls.pullAhead(this.#work!.plan, lease);
    this.#heard(response);
  }

  /** Queues the answer's leases, except those already held. */
  #heard({ state, lease, ahead }: LeaseResponse): void {
    this.#state = state;
    for (const each of [lease, ahead]) {
      const isNew = ![this.#current, ...this.#leases].some((known) =>
        isSame(known, each),
      );
      if (each && isNew) this.#leases.push(each);
    }
  }
}

function isSame(
  one: Lease | null | undefined,
  other: Lease | null | undefined,
): boolean {
  return (
    one?.kind === other?.kind &&
    one?.step === other?.step &&
    one?.index === other?.index &&
    one?.key === other?.key
  );
}

/** Resolves in the next turn of the event loop. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
