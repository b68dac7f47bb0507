/**
 * A run computed again from its config alone, in this process: the same microbatches, reduction and updates as
 * trainers and shards make, so the same bytes. Its norms and losses are those that the run tells, to the last bit.
 */
import { AppError } from "../api/errors.ts";
import { payloadBytes } from "../api/frame.ts";
import type { LeaseKind, RunConfig, ShardRange } from "../api/types.ts";
import { modelOf } from "../model/architectures.ts";
import { PackedWeights } from "../model/packed-weights.ts";
import { countedBytes, evaluationMicrobatches, readBatch } from "./data.ts";
import { slicePayload } from "./gradient.ts";
import {
  keptGradient,
  reducedGradient,
  SLICE_LENGTH,
  squaredNorms,
} from "./mean-gradient.ts";
import { trainerMemory } from "./memory.ts";
import { runMicrobatch, type StepParameters } from "./microbatch.ts";
import { type ObservedLayer, observeMicrobatch } from "./observed-layers.ts";
import { parameterDtype, storeParameters } from "./pulled-parameters.ts";
import type { TrainingService } from "./service.ts";
import {
  initialState,
  type ShardGeometry,
  type ShardState,
} from "./shard-state.ts";
import { applyUpdate } from "./shard-update.ts";
import { type LossSum, meanLoss, updateOf } from "./step-end.ts";
import { TokenCache } from "./token-cache.ts";
import { readTokenLengths } from "./token-lengths.ts";

export type ReplayedStep = {
  step: number;
  trainLoss: number | null;
  gradNorm: number | null;
  /** Of a step that evaluates. */
  valLoss: number | null;
};

/** Where tokens come from. */
type Corpus = Pick<TrainingService, "tokens" | "tokenizer">;

export class ReplayedRun {
  readonly #config: RunConfig;
  readonly #geometry: ShardGeometry;
  readonly #range: ShardRange;
  readonly #tokens: TokenCache;
  readonly #tokenLengths: Uint8Array;
  readonly #state: ShardState;
  /** Updates so far. */
  step = 0;

  private constructor(
    config: RunConfig,
    tokens: TokenCache,
    tokenLengths: Uint8Array,
  ) {
    const { table } = modelOf(config.model);
    this.#config = config;
    // One shard: where the vector is cut changes no byte.
    this.#range = { index: 0, start: 0, length: table.length };
    this.#geometry = { config, table, range: this.#range };
    this.#tokens = tokens;
    this.#tokenLengths = tokenLengths;
    this.#state = initialState(this.#geometry);
  }

  /** At its first step. Errors: `invalid_config` for a run whose first parameters are not drawn */
  static async open(config: RunConfig, corpus: Corpus): Promise<ReplayedRun> {
    if (config.from)
      throw new AppError(
        "invalid_config",
        `Expected a run whose first parameters follow from its seed, got one that goes on from "${config.from.folder}"`,
      );
    const { dataset } = config;
    const tokens = new TokenCache(dataset, (start, length) =>
      corpus.tokens(dataset, start, length),
    );
    return new ReplayedRun(
      config,
      tokens,
      await readTokenLengths(corpus, dataset),
    );
  }

  /** The step that is due, whole. Errors: `run_ended` after the last, or where it diverged */
  async next(): Promise<ReplayedStep> {
    const { step } = this;
    const config = this.#config;
    if (step >= config.steps)
      throw new AppError("run_ended", `Expected a step below ${config.steps}`);
    const dtype = parameterDtype(config);
    const payload = new Uint8Array(payloadBytes(dtype, this.#range.length));
    storeParameters(payload, dtype, this.#state.parameters);
    const { panelBytes } = trainerMemory(config);
    const packedWeights = new PackedWeights(panelBytes);
    const parameters: StepParameters = {
      step,
      frames: [{ ...this.#range, dtype, payload }],
      packedWeights,
    };
    try {
      const evaluated = await this.#compute(
        "eval",
        evaluationMicrobatches(config, step),
        parameters,
      );
      const trained = await this.#compute(
        "train",
        config.microbatches,
        parameters,
      );
      const gradNorm = this.#update(step, trained.gradients);
      return {
        step,
        trainLoss: meanLoss(trained.losses).perToken,
        gradNorm,
        valLoss: meanLoss(evaluated.losses).perToken,
      };
    } finally {
      packedWeights.free();
    }
  }

  /** What the linear layers are given in the backward pass of a microbatch of the step that is due, in f32. */
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
    const { keeps } = trainerMemory(config);
    const bytes = payloadBytes(config.gradientDtype, this.#range.length);
    const losses: LossSum[] = [];
    const gradients: Uint8Array[] = [];
    for (let index = 0; index < count; index++) {
      const lease = { kind, step: this.step, index };
      const batch = await this.#batch(lease);
      const payload = new Uint8Array(kind === "train" ? bytes : 0);
      const parts = kind === "train" ? [{ ...this.#range, payload }] : [];
      const { lossSum, tokens } = runMicrobatch(
        config,
        parameters,
        batch,
        lease,
        keeps,
        parts,
      );
      losses.push({
        lossSum: Number.isFinite(lossSum) ? lossSum : null,
        tokens,
        bytes: countedBytes(batch.targets, this.#tokenLengths),
      });
      gradients.push(payload);
    }
    return { losses, gradients };
  }

  /** Returns the gradient's norm. */
  #update(step: number, gradients: readonly Uint8Array[]): number {
    const { length } = this.#range;
    const { gradientDtype } = this.#config;
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
    const kept = new Float32Array(length);
    const norms = squaredNorms(this.#geometry, mean, kept);
    const ended = updateOf(this.#config, step, norms);
    if (!ended)
      throw new AppError(
        "run_ended",
        `Expected a finite gradient at step ${step}, got none: the run has diverged`,
      );
    applyUpdate(this.#geometry, this.#state, ended.update, keptGradient(kept));
    this.step++;
    return ended.gradNorm;
  }
}
