/**
 * The loop of every trainer. A lease names a microbatch; parameters come from the shards at the
 * lease's step, the gradient goes back to them, and the completion, once every shard has
 * acknowledged, brings the next leases. Who has another at hand computes it while what came of the
 * last is on its way, and lets that have its turns. A crash anywhere only loses leases, which are given again.
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

/** Resolves when what else a trainer's thread has to do, its sockets above all, has had a turn. */
export type Turn = () => Promise<void>;

/** The account of a trainer that shares its isolate with others. */
export type TrainerAccount = {
  /**
   * A microbatch begins, and what it needs takes the place of what the one before did; resolves when there is room
   * for it. Errors: `unavailable`
   */
  begin(memory: TrainerMemory): Promise<void>;
  /** It is over, and nothing on its way. What the next may use stays, until `drop` is called. */
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
  readonly #turn: Turn | undefined;
  #work: Work | undefined;
  readonly #clock = new PhaseClock();
  readonly #pulls: StepPulls;
  /** At hand. */
  #leases: Lease[] = [];
  /** Being computed. */
  #current: Lease | undefined;
  /** What came of a lease, on its way to the shards and the run. One at most: the next waits for it. */
  #delivery: Delivery | undefined;
  /** By the account. */
  #hasBegun = false;
  /** It may be interrupted, and needs what it has. */
  #isComputing = false;
  #letsGoAfter = false;
  /** Nothing is done but wait for the delivery. */
  #isWaiting = false;
  #state: RunState | undefined;
  #onCompleted: TrainingBounds["onCompleted"];

  /** Where it has a `turn`, a microbatch is interrupted for it as long as something is on its way. */
  constructor(
    service: TrainingService,
    identity: LeaseRequest,
    { account, turn }: { account?: TrainerAccount; turn?: Turn } = {},
  ) {
    this.#service = service;
    this.#identity = identity;
    this.#account = account;
    this.#turn = turn;
    this.#pulls = new StepPulls(service, this.#clock, account !== undefined);
  }

  /** The run's state as last heard. */
  get state(): RunState | undefined {
    return this.#state;
  }

  /**
   * Compute leases until the run has ended, the signal comes or the budget is spent. Out of budget, something may be on
   * its way still: `train` goes on, or `rest` waits for it.
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

  /** Nothing is on its way any more. Errors: those of the service */
  async rest(): Promise<void> {
    try {
      await this.#delivered();
    } finally {
      this.#end();
    }
  }

  /** Let go of what the next microbatch of the step would have used; after the one that is being computed, if any. */
  letGo(): void {
    if (this.#isComputing) this.#letsGoAfter = true;
    else this.#pulls.letGo();
  }

  /** No lease is at hand: what is on its way may bring one, or else the run does. */
  async #ask(): Promise<void> {
    if (this.#delivery) return this.#delivered();
    this.#end();
    const request = { ...this.#identity, ...this.#wish() };
    this.#heard(await this.#service.lease(request));
  }

  /** Whether there is room for a lease ahead; unknown as long as there is none. */
  #wish(): { ahead?: true } {
    return this.#work?.memory.overlaps ? { ahead: true } : {};
  }

  #end(): void {
    if (this.#hasBegun)
      this.#account?.end(this.#work!.memory, () => this.letGo());
    this.#hasBegun = false;
  }

  /** An old lease is let go, with those that came with it. */
  async #unlessOld(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof AppError && isOldLease(error))) throw error;
      this.#leases = [];
    }
  }

  /** Wait for what is on its way. Errors: those of the service, but for an old lease */
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

  /** One lease, up to where what came of it is on its way. */
  async #compute(lease: Lease): Promise<void> {
    this.#current = lease;
    try {
      if (
        (lease.createdMs ?? this.#work?.createdMs) !== this.#work?.createdMs
      ) {
        // Its run was removed, and another has its id.
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
        // Whoever has the last may end the step with it.
        const { microbatches } = plan.config;
        if (lease.kind === "train" && lease.index === microbatches - 1)
          this.#pulls.pullAhead(plan, lease);
      },
    );
    // Computing keeps a thread from its sockets: first what is on its way is written.
    if (this.#leases.length > 0) await (this.#turn ?? nextTurn)();
  }

  /** What is on its way has its turns. */
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

  /** What the run answers to a completion. Errors: those of the service */
  async #told({ lease, told, answer }: Delivery): Promise<void> {
    const response = await answer;
    this.#onCompleted?.(lease, told);
    if (!response.lease && response.state === "running")
      this.#pulls.pullAhead(this.#work!.plan, lease);
    this.#heard(response);
  }

  /** Leases that are new are at hand from now on. */
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

/** The event loop has had its turn. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
