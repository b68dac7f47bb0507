/** A run's commits and evaluations, in SQLite. */
import type { Phases, StepPhases } from "../../api/lease.ts";
import type { RunConfig } from "../../api/run-config.ts";
import type { StepMetrics } from "../../api/run-metrics.ts";
import type { RunStatus } from "../../api/run-status.ts";
import type { Link } from "../../training/results-digest.ts";
import type { LearningRates, Update } from "../../training/optimizer.ts";
import type { Loss } from "../../training/step-end.ts";

/** An update and its figures; stored before any shard applies it. */
export type CommitRecord = Update & {
  gradNorm: number;
  trainLoss: Loss;
  /** Tokens trained on so far, including this step. */
  tokens: number;
  committedMs: number;
  /** null for a step that an earlier release committed. */
  link: Link | null;
};

export class RunHistory {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  addCommit(commit: CommitRecord, phases: Phases): void {
    this.#sql.exec(
      "INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      commit.step,
      commit.clipCoefficient,
      commit.learningRates.matrix,
      commit.gradNorm,
      commit.trainLoss.perToken,
      commit.tokens,
      commit.committedMs,
      JSON.stringify(commit.learningRates),
      commit.trainLoss.perByte,
      commit.link?.results ?? null,
      commit.link?.chain ?? null,
      JSON.stringify({ ...phases, commitMs: null }),
    );
  }

  /** Stores how long the commit took until every shard had applied it. */
  commitTook(step: number, ms: number): void {
    this.#sql.exec(
      "UPDATE commits SET phases = json_set(phases, '$.commitMs', ?) WHERE step = ?",
      ms,
      step,
    );
  }

  commit(step: number): CommitRecord | undefined {
    const [row] = this.#sql.exec<{
      step: number;
      clip_coefficient: number;
      grad_norm: number;
      train_loss: number | null;
      tokens: number;
      committed_ms: number;
      learning_rates: string;
      train_nats_per_byte: number | null;
      results: string | null;
      chain: string | null;
    }>("SELECT * FROM commits WHERE step = ?", step);
    return (
      row && {
        step: row.step,
        clipCoefficient: row.clip_coefficient,
        learningRates: JSON.parse(row.learning_rates) as LearningRates,
        gradNorm: row.grad_norm,
        trainLoss: {
          perToken: row.train_loss,
          perByte: row.train_nats_per_byte,
        },
        tokens: row.tokens,
        committedMs: row.committed_ms,
        link:
          row.results === null || row.chain === null
            ? null
            : { results: row.results, chain: row.chain },
      }
    );
  }

  addEvaluation(step: number, loss: Loss, timeMs: number): void {
    this.#sql.exec(
      "INSERT INTO evaluations VALUES (?, ?, ?, ?)",
      step,
      loss.perToken,
      timeMs,
      loss.perByte,
    );
  }

  hasEvaluation(step: number): boolean {
    return (
      [...this.#sql.exec("SELECT 1 FROM evaluations WHERE step = ?", step)]
        .length > 0
    );
  }

  /** The losses of the last commit before `step` and of the last evaluation. */
  latestLosses(
    step: number,
  ): Pick<
    RunStatus,
    "trainLoss" | "trainNatsPerByte" | "valLoss" | "valNatsPerByte"
  > {
    const [commit] = this.#sql.exec<{
      train_loss: number | null;
      train_nats_per_byte: number | null;
    }>(
      "SELECT train_loss, train_nats_per_byte FROM commits WHERE step < ? ORDER BY step DESC LIMIT 1",
      step,
    );
    const [evaluation] = this.#sql.exec<{
      loss: number | null;
      nats_per_byte: number | null;
    }>(
      "SELECT loss, nats_per_byte FROM evaluations ORDER BY step DESC LIMIT 1",
    );
    return {
      trainLoss: commit?.train_loss ?? null,
      trainNatsPerByte: commit?.train_nats_per_byte ?? null,
      valLoss: evaluation?.loss ?? null,
      valNatsPerByte: evaluation?.nats_per_byte ?? null,
    };
  }

  /**
   * The metrics from `fromStep` on, in order. The last evaluation, after the last update, has its own entry, with a
   * learning rate of 0 and no training loss.
   */
  metrics(
    { step, config }: { step: number; config: RunConfig },
    fromStep: number,
    limit: number,
  ): StepMetrics[] {
    const endStep = step === config.steps ? step + 1 : step;
    const rows = this.#sql.exec<{
      step: number;
      train_loss: number | null;
      grad_norm: number | null;
      learning_rate: number | null;
      tokens: number | null;
      loss: number | null;
      time_ms: number;
      train_nats_per_byte: number | null;
      nats_per_byte: number | null;
      results: string | null;
      chain: string | null;
      phases: string | null;
    }>(
      `SELECT step, train_loss, grad_norm, learning_rate, tokens, loss,
              COALESCE(committed_ms, time_ms) AS time_ms,
              train_nats_per_byte, nats_per_byte, results, chain, phases
         FROM commits FULL OUTER JOIN evaluations USING (step)
        WHERE step >= ? AND step < ? ORDER BY step LIMIT ?`,
      fromStep,
      endStep,
      limit,
    );
    return Array.from(rows, (row) => ({
      step: row.step,
      trainLoss: row.train_loss,
      gradNorm: row.grad_norm,
      learningRate: row.learning_rate ?? 0,
      tokens: row.tokens ?? this.tokensBefore({ config, step: row.step }),
      valLoss: row.loss,
      committedMs: row.time_ms,
      trainNatsPerByte: row.train_nats_per_byte,
      valNatsPerByte: row.nats_per_byte,
      results: row.results,
      chain: row.chain,
      phases:
        row.phases === null ? null : (JSON.parse(row.phases) as StepPhases),
    }));
  }

  /** Removes this step and later ones. Called inside a transaction. */
  takeBack(step: number): void {
    this.#sql.exec("DELETE FROM commits WHERE step >= ?", step);
    this.#sql.exec("DELETE FROM evaluations WHERE step >= ?", step);
  }

  /** Tokens trained on before `step`. */
  tokensBefore({ config, step }: { config: RunConfig; step: number }): number {
    return this.commit(step - 1)?.tokens ?? config.from?.resumed?.tokens ?? 0;
  }
}
