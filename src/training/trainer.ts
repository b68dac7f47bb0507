/**
 * The loop of every trainer. A lease names a microbatch; parameters come from the shards at the
 * lease's step, the gradient goes back to them, and the completion, once every shard has
 * acknowledged, brings the next lease. A crash anywhere only loses a lease, which is given again.
 */
import { AppError } from "../api/errors.ts";
import {
  type Frame,
  frameBytes,
  frameDigest,
  sealFrame,
} from "../api/frame.ts";
import type {
  Completion,
  Lease,
  LeaseRequest,
  LeaseResponse,
} from "../api/lease.ts";
import { hasEnded, type RunState, type ShardRange } from "../api/run-status.ts";
import { free } from "../memory/free.ts";
import { PackedWeights } from "../model/packed-weights.ts";
import { countedBytes, readBatch } from "./data.ts";
import { type TrainerMemory, trainerMemory } from "./memory.ts";
import { letGoOf, type ParameterFrame } from "./pulled-parameters.ts";
import {
  computeMicrobatch,
  type RunPlan,
  type StepParameters,
} from "./microbatch.ts";
import { LinkPace } from "./link-pace.ts";
import { PhaseClock } from "./phase-clock.ts";
import type { TrainingService } from "./service.ts";
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

/** So long a shard waits at a time for a step that is to come. */
const AHEAD_MS = 10_000;

/** Refusals that say no more than that the lease is old: take another. */
const OLD_LEASE = new Set([
  "step_gone",
  "run_ended",
  // The run's owner has begun the step anew.
  "no_lease",
  // Others, or others of the same token, came to something else: the run finds out who is wrong.
  "different_bytes",
  "different_completion",
]);

/** Refusals after which another try is the same refusal. */
const FINAL = new Set([
  "run_not_found",
  "run_ended",
  "fingerprint_differs",
  "state_version",
  "unauthorized",
  "forbidden",
]);

/** Whether a trainer that met this error has nothing more to do. */
export function isFinalRefusal({ code }: AppError): boolean {
  return FINAL.has(code);
}

/** What a trainer has of its run as soon as it has a lease. */
type Work = {
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
  #pulled: (StepParameters & Pick<Lease, "rewinds">) | undefined;
  /** The frames of the step to come, asked for before it is there. */
  #ahead:
    | (Pick<Lease, "step" | "rewinds"> & { frames: Promise<ParameterFrame[]> })
    | undefined;
  #next: Lease | null = null;
  #state: RunState | undefined;
  #onCompleted: TrainingBounds["onCompleted"];
  readonly #clock = new PhaseClock();
  readonly #link = new LinkPace();

  constructor(
    service: TrainingService,
    identity: LeaseRequest,
    account?: TrainerAccount,
  ) {
    this.#service = service;
    this.#identity = identity;
    this.#account = account;
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
    const pulled = this.#pulled;
    this.#pulled = undefined;
    this.#ahead = undefined;
    if (!pulled) return;
    for (const frame of pulled.frames) letGoOf(frame);
    pulled.packedWeights.free();
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
      this.#pull(work, lease),
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
      this.#pullAhead(plan, lease);
    const response = await this.#service.complete(lease, completion);
    this.#onCompleted?.(lease, completion);
    if (!response.lease && response.state === "running")
      this.#pullAhead(plan, lease);
    return this.#heard(response);
  }

  async #begin(): Promise<Work> {
    const { config, shards } = await this.#service.status();
    const memory = trainerMemory(config);
    return {
      plan: { config, shards },
      memory,
      tokens: new TokenCache(config.dataset, (start, length) =>
        this.#service.tokens(config.dataset, start, length),
      ),
      tokenLengths: await readTokenLengths(this.#service, config.dataset),
    };
  }

  async #pull(
    { plan, memory }: Work,
    { step, rewinds }: Lease,
  ): Promise<StepParameters> {
    const known = this.#pulled;
    if (known?.step === step && known.rewinds === rewinds) return known;
    // A base becomes what is pulled.
    const bases = this.#link.isSlow ? this.#takeFrames(step - 1) : [];
    const ahead = this.#ahead;
    this.letGo();
    const frames =
      (ahead?.step === step && ahead.rewinds === rewinds
        ? await ahead.frames.catch(() => undefined)
        : undefined) ??
      (await allFrames(
        plan.shards.map(({ index }) =>
          this.#service.pull(index, step, bases[index], rewinds ?? 0),
        ),
      ));
    const sizes = frames.map(({ dtype, length }) => frameBytes(dtype, length));
    for (const [index, { travelled }] of frames.entries())
      this.#clock.pulled(travelled?.bytes ?? sizes[index]!);
    // A trainer in an edge's isolate is near the shards, and has no room for differences.
    if (!this.#account)
      this.#link.measured(frames.flatMap(({ travelled }) => travelled ?? []));
    const packedWeights = new PackedWeights(memory.panelBytes);
    this.#pulled = { step, rewinds, frames, packedWeights };
    return this.#pulled;
  }

  /**
   * Nothing of the step is left to compute, or will be soon: ask for the next one's parameters, which come the moment that
   * they are there. Not where a second step has no room beside the first, nor where it travels as the difference to it.
   */
  #pullAhead({ config, shards }: RunPlan, { step, rewinds }: Lease): void {
    if (this.#account || this.#link.isSlow || step >= config.steps) return;
    const ahead = this.#ahead;
    if (ahead?.step === step + 1 && ahead.rewinds === rewinds) return;
    const frames = Promise.all(
      shards.map(({ index }) =>
        this.#service.pull(index, step + 1, undefined, rewinds ?? 0, AHEAD_MS),
      ),
    );
    // Where it is refused, it is asked for again when it is wanted.
    frames.catch(() => {});
    this.#ahead = { step: step + 1, rewinds, frames };
  }

  /** The frames of `step`, if those are at hand and whole; nobody else has them then. */
  #takeFrames(step: number): Frame[] {
    const pulled = this.#pulled;
    if (pulled?.step !== step) return [];
    const frames = pulled.frames.filter(
      (frame): frame is Frame => "digest" in frame,
    );
    if (frames.length < pulled.frames.length) return [];
    pulled.packedWeights.free();
    this.#pulled = undefined;
    return frames;
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

/** Of a step that is only half there, nobody keeps the other half. */
async function allFrames(
  pulls: readonly Promise<ParameterFrame>[],
): Promise<ParameterFrame[]> {
  const outcomes = await Promise.allSettled(pulls);
  const frames = outcomes.flatMap((each) =>
    each.status === "fulfilled" ? each.value : [],
  );
  const failed = outcomes.find((each) => each.status === "rejected");
  if (!failed) return frames;
  for (const frame of frames) letGoOf(frame);
  throw failed.reason;
}
