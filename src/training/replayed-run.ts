/**
 * Recomputes a run in this process, from its config or from the state at one of its steps: with the microbatches,
 * reduction and updates of trainers and shards, hence the same bytes. Norms and losses equal the run's to the last
 * bit.
 */
import { AppError } from "../api/errors.ts";
import { encodeFrame, frameDigest, payloadBytes } from "../api/frame.ts";
import type { LeaseKind } from "../api/lease.ts";
import type { RunConfig } from "../api/run-config.ts";
import type { ShardRange } from "../api/run-status.ts";
import { finish } from "../kernels/steps.ts";
import { modelOf } from "../model/architectures.ts";
import { PackedWeights } from "../model/packed-weights.ts";
import { evaluationMicrobatches, readBatch, toldLoss } from "./data.ts";
import { slicePayload } from "./gradient.ts";
import {
  keptGradient,
  reducedGradient,
  SLICE_LENGTH,
  squaredNorms,
} from "./mean-gradient.ts";
import { type TrainerMemory, trainerMemory } from "./memory.ts";
import { runMicrobatch, type StepParameters } from "./microbatch.ts";
import { type ObservedLayer, observeMicrobatch } from "./observed-layers.ts";
import { parameterDtype, storeParameters } from "./pulled-parameters.ts";
import type { TrainingService } from "./service.ts";
import {
  initialState,
  readState,
  type ShardGeometry,
  type ShardState,
  type StateReader,
} from "./shard-state.ts";
import { wholeVector } from "./sharding.ts";
import type { Update } from "./optimizer.ts";
import { applyUpdate } from "./shard-update.ts";
import { type Loss, type LossSum, meanLoss, updateOf } from "./step-end.ts";
import { TokenCache } from "./token-cache.ts";
import { readTokenLengths } from "./token-lengths.ts";

/** A microbatch's loss, and the SHA-256 of the frame that would be pushed to each shard. */
type ReplayedMicrobatch = LossSum & { digests: string[] };

export type ReplayedStep = {
  step: number;
  microbatches: ReplayedMicrobatch[];
  update: Update;
  trainLoss: number | null;
  trainNatsPerByte: number | null;
  gradNorm: number;
  /** null unless the step evaluates. */
  valLoss: number | null;
  valNatsPerByte: number | null;
};

/**
 * The results of a step's microbatches, and the update that follows; `ended` is undefined if the gradient's norm is
 * not finite.
 */
type Trained = {
  microbatches: ReplayedMicrobatch[];
  /** Mean gradient, f32 [length of the flat vector]. */
  gradient: Float32Array<ArrayBuffer>;
  ended: ReturnType<typeof updateOf>;
};

/** Source of tokens and tokenizer. */
type Corpus = Pick<TrainingService, "tokens" | "tokenizer">;

export class ReplayedRun {
  readonly #config: RunConfig;
  readonly #geometry: ShardGeometry;
  readonly #range: ShardRange;
  readonly #tokens: TokenCache;
  readonly #tokenLengths: Uint32Array;
  readonly #state: ShardState;
  readonly #memory: TrainerMemory;
  /** Number of updates so far. */
  step: number;

  private constructor(
    geometry: ShardGeometry,
    state: ShardState,
    step: number,
    tokens: TokenCache,
    tokenLengths: Uint32Array,
    memory: TrainerMemory,
  ) {
    this.#config = geometry.config;
    this.#range = geometry.range;
    this.#geometry = geometry;
    this.#tokens = tokens;
    this.#tokenLengths = tokenLengths;
    this.#state = state;
    this.#memory = memory;
    this.step = step;
  }

  /**
   * Opens the run at its first step, or at the state `from`. `memoryBytes` is for a microbatch, not for the
   * state. Errors: `invalid_config` for a run whose initial parameters are not drawn from its seed
   */
  static async open(
    config: RunConfig,
    corpus: Corpus,
    memoryBytes: number,
    from?: { step: number; read: StateReader },
  ): Promise<ReplayedRun> {
    if (config.from && !from)
      throw new AppError(
        "invalid_config",
        `Expected a run whose initial parameters follow from its seed, got one that starts from "${config.from.folder}"`,
      );
    const { dataset } = config;
    const tokens = new TokenCache(dataset, (start, length) =>
      corpus.tokens(dataset, start, length),
    );
    const { table } = modelOf(config.model);
    const geometry = { config, table, range: wholeVector(table) };
    return new ReplayedRun(
      geometry,
      from ? await readState(geometry, from.read) : initialState(geometry),
      from?.step ?? 0,
      tokens,
      await readTokenLengths(corpus, dataset),
      trainerMemory(config, memoryBytes),
    );
  }

  /**
   * Computes the next step; digests are of the frames for `shards`. Errors: `run_ended` after the last step, or if
   * the run diverges there
   */
  async next(shards: readonly ShardRange[] = []): Promise<ReplayedStep> {
    const { step } = this;
    const config = this.#config;
    if (step >= config.steps)
      throw new AppError(
        "run_ended",
        `Expected a step below ${config.steps}, got ${step}`,
      );
    return this.#withParameters(async (parameters) => {
      const evaluated = await this.#evaluate(parameters);
      const { microbatches, gradient, ended } = await this.#train(
        parameters,
        shards,
      );
      if (!ended)
        throw new AppError(
          "run_ended",
          `Expected a finite gradient at step ${step}, got none: the run has diverged`,
        );
      const kept = keptGradient(gradient);
      applyUpdate(this.#geometry, this.#state, ended.update, kept);
      this.step++;
      const trained = meanLoss(microbatches);
      return {
        step,
        microbatches,
        ...ended,
        trainLoss: trained.perToken,
        trainNatsPerByte: trained.perByte,
        valLoss: evaluated.perToken,
        valNatsPerByte: evaluated.perByte,
      };
    });
  }

  /**
   * Computes the microbatches of the next step without applying the update; `diverges` if their gradient's norm is
   * not finite.
   */
  async attempt(
    shards: readonly ShardRange[],
  ): Promise<{ microbatches: ReplayedMicrobatch[]; diverges: boolean }> {
    const { microbatches, ended } = await this.#withParameters((parameters) =>
      this.#train(parameters, shards),
    );
    return { microbatches, diverges: ended === undefined };
  }

  /** The evaluation at the present step; possible after the last update too. */
  evaluation(): Promise<Loss> {
    return this.#withParameters((parameters) => this.#evaluate(parameters));
  }

  async #evaluate(parameters: StepParameters): Promise<Loss> {
    const count = evaluationMicrobatches(this.#config, this.step);
    const { losses } = await this.#compute("eval", count, parameters);
    return meanLoss(losses);
  }

  /** Calls `body` with the parameters that trainers would pull at the present step. */
  async #withParameters<T>(
    body: (parameters: StepParameters) => Promise<T>,
  ): Promise<T> {
    const { step } = this;
    const dtype = parameterDtype(this.#config);
    const payload = new Uint8Array(payloadBytes(dtype, this.#range.length));
    storeParameters(payload, dtype, this.#state.parameters);
    const { panelBytes } = this.#memory;
    const packedWeights = new PackedWeights(panelBytes);
    const frames = [{ ...this.#range, dtype, payload }];
    try {
      return await body({ step, frames, packedWeights });
    } finally {
      packedWeights.free();
    }
  }

  /** The operands of the linear layers in the backward pass of a microbatch of the next step, in f32. */
  async observe(microbatch: number): Promise<ObservedLayer[]> {
    const lease = {
      kind: "train",
      step: this.step,
      index: microbatch,
    } as const;
    const batch = await this.#batch(lease);
    return observeMicrobatch(
      this.#config,
      this.#state.parameters,
      batch,
      lease,
    );
  }

  #batch(lease: { kind: LeaseKind; step: number; index: number }) {
    return readBatch(this.#config, lease, (start, length) =>
      this.#tokens.read(start, length),
    );
  }

  async #compute(
    kind: LeaseKind,
    count: number,
    parameters: StepParameters,
  ): Promise<{ losses: LossSum[]; gradients: Uint8Array[] }> {
    const config = this.#config;
    const { keeps } = this.#memory;
    const bytes = payloadBytes(config.gradientDtype, this.#range.length);
    const losses: LossSum[] = [];
    const gradients: Uint8Array[] = [];
    for (let index = 0; index < count; index++) {
      const lease = { kind, step: this.step, index };
      const batch = await this.#batch(lease);
      const payload = new Uint8Array(kind === "train" ? bytes : 0);
      const parts = kind === "train" ? [{ ...this.#range, payload }] : [];
      const loss = finish(
        runMicrobatch(config, parameters, batch, lease, keeps, parts),
      );
      losses.push(toldLoss(loss, batch, this.#tokenLengths));
      gradients.push(payload);
    }
    return { losses, gradients };
  }

  /** Digests of the frames of one microbatch that a trainer would push. */
  #digests(
    shards: readonly ShardRange[],
    microbatch: number,
    payload: Uint8Array,
  ): Promise<string[]> {
    const { gradientDtype: dtype } = this.#config;
    const { step } = this;
    return Promise.all(
      shards.map(async ({ start, length }) => {
        const header = { kind: "gradient", dtype, step, microbatch } as const;
        const frame = await encodeFrame(
          { ...header, start, length },
          slicePayload(dtype, payload, this.#range.length, start, length),
        );
        return frameDigest(frame);
      }),
    );
  }

  async #train(
    parameters: StepParameters,
    shards: readonly ShardRange[],
  ): Promise<Trained> {
    const { losses, gradients } = await this.#compute(
      "train",
      this.#config.microbatches,
      parameters,
    );
    const microbatches = await Promise.all(
      losses.map(async (loss, index) => ({
        ...loss,
        digests: await this.#digests(shards, index, gradients[index]!),
      })),
    );
    const { length } = this.#range;
    const { gradientDtype } = this.#config;
    const { step } = this;
    const mean = reducedGradient(this.#geometry, step, (microbatch, slice) => {
      const from = slice * SLICE_LENGTH;
      const count = Math.min(SLICE_LENGTH, length - from);
      return slicePayload(
        gradientDtype,
        gradients[microbatch]!,
        length,
        from,
        count,
      );
    });
    const gradient = new Float32Array(length);
    const norms = squaredNorms(this.#geometry, mean, gradient);
    return {
      microbatches,
      gradient,
      ended: updateOf(this.#config, step, norms),
    };
  }
}
