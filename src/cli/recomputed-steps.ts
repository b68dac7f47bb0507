/**
 * Recomputes steps of a run with the code of trainers and shards, and compares the results with the recorded ones. A
 * step is computed from the state before it: the nearest earlier kept state, or the initial one, which follows from the
 * seed.
 */
import type { StepMetrics } from "../api/run-metrics.ts";
import type { RunStatus } from "../api/run-status.ts";
import type { Folder } from "../checkpoints/read-heads.ts";
import { wholeOf } from "../client/broken-off.ts";
import type { RunClient } from "../client/run-client.ts";
import { essentialConfig } from "../training/checkpoint.ts";
import { checkpointBytes } from "../training/checkpoint-file.ts";
import { openModel } from "../training/imported-model.ts";
import { ReplayedRun } from "../training/replayed-run.ts";
import type { Loss } from "../training/step-end.ts";
import { firstLink, type Link } from "../training/results-digest.ts";
import { UsageError } from "./file-arguments.ts";
import {
  differing,
  type FalseStep,
  hasNoDigests,
  isCommitOf,
  isLinked,
} from "./told-step.ts";
import { threadMemoryBytes } from "./thread-memory.ts";

/** Steps requested in parallel. */
const AT_ONCE = 8;

/** A run whose steps are recomputed here. */
export class RecomputedRun {
  readonly #run: RunClient;
  readonly status: RunStatus;
  readonly #metrics: ReadonlyMap<number, StepMetrics>;
  /** First step of the run. */
  readonly first: number;
  /** Steps with a kept state, in order, none later than `last`. */
  readonly states: readonly number[];
  readonly #onStep: (step: number) => void;
  /** Number of steps recomputed. */
  computed = 0;

  private constructor(
    run: RunClient,
    status: RunStatus,
    states: readonly number[],
    metrics: readonly StepMetrics[],
    onStep: (step: number) => void,
  ) {
    this.#run = run;
    this.status = status;
    this.first = status.config.from?.resumed?.step ?? 0;
    this.states = states.filter(
      (step) =>
        step < status.step ||
        step === this.first ||
        status.state === "diverged",
    );
    this.#metrics = byStep(metrics);
    this.#onStep = onStep;
  }

  static async open(
    run: RunClient,
    onStep: (step: number) => void = () => {},
  ): Promise<RecomputedRun> {
    // In sequence: if the run continues meanwhile, each answer covers all that the previous one mentions.
    const states = await run.states();
    const status = await run.status();
    const metrics = await run.metrics();
    return new RecomputedRun(run, status, states, metrics, onStep);
  }

  /** The last step with a record: committed, diverged, or the evaluation after the last one. */
  get last(): number {
    const { step, state, config } = this.status;
    const isEvaluated = step === config.steps && this.#metrics.has(step);
    return isEvaluated || state === "diverged" ? step : step - 1;
  }

  /**
   * The first false step from `start` to `last`; the edge has the state of `start`, unless `state` is given. Errors:
   * `UsageError`
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
      if (found) return this.#confirmed(found);
      if (step === this.status.config.steps || step === this.status.step) break;
    }
    return null;
  }

  /** The first step whose digests do not follow from its record, without recomputing. */
  async firstUnlinked(): Promise<FalseStep | null> {
    const { step: end } = this.status;
    for (let from = this.first; from < end; from += AT_ONCE) {
      const count = Math.min(AT_ONCE, end - from);
      const linked = await Promise.all(
        Array.from({ length: count }, (_, i) => this.#isLinked(from + i)),
      );
      const at = linked.indexOf(false);
      if (at >= 0)
        return this.#confirmed({
          step: from + at,
          microbatches: [],
          chain: true,
        });
    }
    return null;
  }

  async #check(replay: ReplayedRun): Promise<FalseStep | null> {
    const { step } = replay;
    const { config, shards } = this.status;
    const metrics = this.#metrics.get(step);
    if (step === config.steps) {
      const isEvaluation = isLoss(metrics, await replay.evaluation());
      return isEvaluation ? null : { step, microbatches: [], evaluation: true };
    }
    const record = await this.#run.step(step);
    if (step === this.status.step) {
      const { microbatches: computed, diverges } = await replay.attempt(shards);
      const microbatches = differing(record, { microbatches: computed });
      const isEvaluation = isLoss(metrics, await replay.evaluation());
      if (microbatches.length === 0 && diverges && isEvaluation) return null;
      return {
        step,
        microbatches,
        ...(microbatches.length === 0 && !diverges && { commit: true }),
        ...(!isEvaluation && { evaluation: true }),
      };
    }
    if (record.commit && hasNoDigests(record.commit))
      throw new UsageError(
        `Expected steps with digests, got step ${step}, which an earlier release committed without`,
      );
    const computed = await replay.next(shards);
    const microbatches = differing(record, computed);
    const isCommit = microbatches.length > 0 || isCommitOf(record, computed);
    const { valLoss: perToken, valNatsPerByte: perByte } = computed;
    const isEvaluation = isLoss(metrics, { perToken, perByte });
    const isChain = await isLinked(record, metrics, await this.#before(step));
    if (microbatches.length === 0 && isCommit && isEvaluation && isChain)
      return null;
    return {
      step,
      microbatches,
      ...(!isCommit && { commit: true }),
      ...(!isEvaluation && { evaluation: true }),
      ...(!isChain && { chain: true }),
    };
  }

  async #isLinked(step: number): Promise<boolean> {
    const record = await this.#run.step(step);
    const before = await this.#before(step);
    return isLinked(record, this.#metrics.get(step), before);
  }

  /** The digests that a step builds on; the config's if an earlier release left none. */
  async #before(step: number): Promise<Link & { tokens: number }> {
    const { config } = this.status;
    const metrics = this.#metrics.get(step - 1);
    const { results, chain } = metrics ?? {};
    const link =
      results && chain ? { results, chain } : await firstLink(config);
    const tokens = metrics?.tokens ?? config.from?.resumed?.tokens ?? 0;
    return { ...link, tokens };
  }

  /** Returns `found` if the run was not rewound meanwhile. */
  async #confirmed(found: FalseStep): Promise<FalseStep> {
    const told = byStep(await this.#run.metrics());
    for (let step = this.first; step <= found.step; step++) {
      const [before, now] = [this.#metrics, told].map((each) => each.get(step));
      if (before?.chain !== now?.chain)
        throw new Error(
          `Expected the run not to change during the audit, but it was rewound to step ${step} or before: repeat the audit`,
        );
    }
    return found;
  }

  async #replayFrom(start: number, given?: Folder): Promise<ReplayedRun> {
    const { config } = this.status;
    if (start === 0 && !config.from && !given)
      return ReplayedRun.open(config, this.#run, threadMemoryBytes());
    const model = await openModel(given ?? (await this.#stateOf(start)));
    const { run: state, read } = model;
    const isOfIt =
      state?.step === start &&
      JSON.stringify(state.config) === JSON.stringify(essentialConfig(config));
    if (!isOfIt) {
      throw new UsageError(
        `Expected the full state of this run at step ${start}, got ${state ? `that of a run of another config, or of step ${state.step}` : "parameters only"}`,
      );
    }
    const { results } = await this.#before(start);
    if (state.results !== results)
      throw new UsageError(
        `Expected a state with the run's \`results\` before it, ${results}, got ${state.results ?? "one of an earlier release, which has none"}`,
      );
    return ReplayedRun.open(config, this.#run, threadMemoryBytes(), {
      step: start,
      read,
    });
  }

  async #stateOf(step: number): Promise<Folder> {
    const answer = await this.#run.checkpoint({ state: "full", step });
    return checkpointBytes(await wholeOf(answer));
  }
}

/** The step of a checkpoint with full state. Errors: `UsageError` */
export async function stepOfState(folder: Folder): Promise<number> {
  const { run } = await openModel(folder);
  if (run) return run.step;
  throw new UsageError(
    "Expected --state to be a checkpoint with state=full, got one with parameters only",
  );
}

function byStep(metrics: readonly StepMetrics[]): Map<number, StepMetrics> {
  return new Map(metrics.map((each) => [each.step, each]));
}

function isLoss(
  metrics: StepMetrics | undefined,
  { perToken, perByte }: Loss,
): boolean {
  return (
    (metrics?.valLoss ?? null) === perToken &&
    (metrics?.valNatsPerByte ?? null) === perByte
  );
}
