/**
 * Steps of a run computed here, by what its trainers and shards compute with, and held against what was told of them. A
 * step is computed from the state before it: that of the last step before that the edge has kept, or the first, which
 * follows from the seed.
 */
import type { StepRecord } from "../api/run-metrics.ts";
import type { RunStatus } from "../api/run-status.ts";
import type { Folder } from "../checkpoints/read-heads.ts";
import type { RunClient } from "../client/run-client.ts";
import { essentialConfig } from "../training/checkpoint.ts";
import { checkpointBytes } from "../training/checkpoint-file.ts";
import { openModel } from "../training/imported-model.ts";
import { ReplayedRun, type ReplayedStep } from "../training/replayed-run.ts";
import { isSameResult, nextResults } from "../training/results-digest.ts";
import { UsageError } from "./file-arguments.ts";

/** What of a step is not what it comes to. */
export type FalseStep = {
  step: number;
  /** With all who told so. */
  microbatches: { index: number; authors: string[] }[];
  /** Norm, clip or rates of the commit do not follow from its microbatches: so does no trainer's lie. */
  commit?: true;
  /** The loss of its evaluation. */
  evaluation?: true;
};

/** A run whose steps are computed here. */
export class RecomputedRun {
  readonly #run: RunClient;
  readonly status: RunStatus;
  readonly #valLosses: ReadonlyMap<number, number | null>;
  /** Steps of which the state is there, in order; the last that is committed at most. */
  readonly states: readonly number[];
  readonly #onStep: (step: number) => void;
  /** Steps that were computed. */
  computed = 0;

  private constructor(
    run: RunClient,
    status: RunStatus,
    states: readonly number[],
    valLosses: ReadonlyMap<number, number | null>,
    onStep: (step: number) => void,
  ) {
    this.#run = run;
    this.status = status;
    this.states = states;
    this.#valLosses = valLosses;
    this.#onStep = onStep;
  }

  static async open(
    run: RunClient,
    onStep: (step: number) => void = () => {},
  ): Promise<RecomputedRun> {
    const states = await run.states();
    const [status, metrics] = await Promise.all([run.status(), run.metrics()]);
    const valLosses = metrics.map(
      ({ step, valLoss }) => [step, valLoss] as const,
    );
    return new RecomputedRun(
      run,
      status,
      states.filter((step) => step < status.step || step === 0),
      new Map(valLosses),
      onStep,
    );
  }

  /** The last step of which something is told: the one that is committed, or the evaluation behind it. */
  get last(): number {
    const { step, config } = this.status;
    const isEvaluated = step === config.steps && this.#valLosses.has(step);
    return isEvaluated ? step : step - 1;
  }

  /**
   * The first of the steps from `start` to `last` that is false; of `start` the edge has the state, or `state` is it.
   * Errors: `UsageError`
   */
  async firstFalse(
    start: number,
    last: number,
    state?: Folder,
  ): Promise<FalseStep | null> {
    const replay = await this.#replayFrom(start, state);
    while (replay.step <= last) {
      const { step } = replay;
      const found = await this.#check(replay);
      this.computed++;
      this.#onStep(step);
      if (found) return found;
      if (step === this.status.config.steps) break;
    }
    return null;
  }

  async #check(replay: ReplayedRun): Promise<FalseStep | null> {
    const { step } = replay;
    const { config, shards } = this.status;
    if (step === config.steps) {
      const { perToken } = await replay.evaluation();
      return this.#isValLoss(step, perToken)
        ? null
        : { step, microbatches: [], evaluation: true };
    }
    const record = await this.#run.step(step);
    const computed = await replay.next(shards);
    const microbatches = differing(record, computed);
    const isCommit =
      microbatches.length > 0 || (await isCommitOf(record, computed));
    const isEvaluation = this.#isValLoss(step, computed.valLoss);
    if (microbatches.length === 0 && isCommit && isEvaluation) return null;
    return {
      step,
      microbatches,
      ...(!isCommit && { commit: true }),
      ...(!isEvaluation && { evaluation: true }),
    };
  }

  #isValLoss(step: number, valLoss: number | null): boolean {
    return (this.#valLosses.get(step) ?? null) === valLoss;
  }

  async #replayFrom(start: number, given?: Folder): Promise<ReplayedRun> {
    const { config } = this.status;
    if (start === 0 && !config.from && !given)
      return ReplayedRun.open(config, this.#run);
    const model = await openModel(given ?? (await this.#stateOf(start)));
    const { run: state, read } = model;
    const isOfIt =
      state?.step === start &&
      JSON.stringify(state.config) === JSON.stringify(essentialConfig(config));
    if (!isOfIt) {
      throw new UsageError(
        `Expected all of the state of this run at step ${start}, got ${state ? `that of a run of another config, or of its step ${state.step}` : "parameters alone"}`,
      );
    }
    if (start < this.status.step) {
      const { commit } = await this.#run.step(start);
      if (state.results !== commit?.before.results)
        throw new UsageError(
          `Expected a state before which all came to ${commit?.before.results}, as the run tells, got one of ${state.results ?? "an earlier release, which told nothing"}`,
        );
    }
    return ReplayedRun.open(config, this.#run, { step: start, read });
  }

  async #stateOf(step: number): Promise<Folder> {
    const answer = await this.#run.checkpoint("safetensors", "full", step);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const expected = Number(answer.headers.get("Content-Length"));
    if (bytes.length === expected) return checkpointBytes(bytes);
    throw new Error(
      `Expected ${expected} bytes of the state of step ${step}, got ${bytes.length}: ask again`,
    );
  }
}

/** The step of a checkpoint of all state. Errors: `UsageError` */
export async function stepOfState(folder: Folder): Promise<number> {
  const { run } = await openModel(folder);
  if (run) return run.step;
  throw new UsageError(
    "Expected --state to be a checkpoint of all state, got parameters alone",
  );
}

/** By their sums and by the digests of their gradients. */
function differing(
  { microbatches }: StepRecord,
  computed: ReplayedStep,
): FalseStep["microbatches"] {
  return computed.microbatches.flatMap((own, index) => {
    const told = microbatches.find((each) => each.index === index);
    if (told && isSameResult(told, own)) return [];
    return [{ index, authors: told?.authors ?? [] }];
  });
}

async function isCommitOf(
  { step, commit }: StepRecord,
  { update, gradNorm, microbatches }: ReplayedStep,
): Promise<boolean> {
  if (!commit?.results) {
    throw new UsageError(
      `Expected steps whose commits have digests, got step ${step} of an earlier release, or one that is not committed`,
    );
  }
  const before = commit.before.results;
  const results = await nextResults(before, microbatches, update, gradNorm);
  return results === commit.results;
}
