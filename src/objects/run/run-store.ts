/** A run on disk: its record, completions, commits, evaluations and trainers. */
import type {
  LeaseKind,
  RunConfig,
  RunState,
  RunStatus,
  StepMetrics,
  TrainerStatus,
} from "../../api/types.ts";
import type { LearningRates, Update } from "../../training/optimizer.ts";
import { RUN_SCHEMA } from "./run-schema.ts";

export type RunRecord = {
  run: string;
  config: RunConfig;
  state: RunState;
  /** The step of the parameters; updates so far. */
  step: number;
  /** Of the trainers that may join; null before the first. */
  fingerprint: string | null;
  createdMs: number;
  /** Every shard has been initialized. */
  initialized: boolean;
  /** The run has ended, and shards and directory know. */
  settled: boolean;
  /** An earlier release began it, whose parameters mean something else: nobody goes on with it. */
  outdated: boolean;
};

/** In nats, over tokens, which have so many bytes of text. */
export type LossSum = { lossSum: number | null; tokens: number; bytes: number };

/** A mean; null where the sum is not finite. */
export type Loss = { perToken: number | null; perByte: number | null };

/** An update with what is told of it; persisted before any shard applies it. */
export type CommitRecord = Update & {
  gradNorm: number;
  trainLoss: Loss;
  /** Trained on so far, this step included. */
  tokens: number;
  committedMs: number;
};

export type TrainerRecord = TrainerStatus & { bootId: string };

type RecordRow = {
  run: string;
  config: string;
  state: RunState;
  step: number;
  fingerprint: string | null;
  created_ms: number;
  initialized: number;
  settled: number;
  outdated: number;
};

export class RunStore {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  #record: RunRecord | undefined;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
  }

  /** `tokenizer` is null where tokens are bytes. */
  create(
    run: string,
    config: RunConfig,
    tokenizer: string | null,
    createdMs: number,
  ): void {
    RUN_SCHEMA.create(this.#sql);
    if (tokenizer !== null)
      this.#sql.exec("INSERT INTO tokenizer VALUES (?)", tokenizer);
    this.#sql.exec(
      "INSERT INTO run VALUES (?, ?, 'running', 0, NULL, ?, 0, 0, 0)",
      run,
      JSON.stringify(config),
      createdMs,
    );
  }

  /** undefined when there is no such run. */
  find(): RunRecord | undefined {
    if (this.#record) return this.#record;
    if (!RUN_SCHEMA.open(this.#storage)) return undefined;
    const row = this.#sql.exec<RecordRow>("SELECT * FROM run").one();
    this.#record = {
      run: row.run,
      config: JSON.parse(row.config) as RunConfig,
      state: row.state,
      step: row.step,
      fingerprint: row.fingerprint,
      createdMs: row.created_ms,
      initialized: row.initialized === 1,
      settled: row.settled === 1,
      outdated: row.outdated === 1,
    };
    return this.#record;
  }

  /** Change the record, on disk and in memory. */
  update(
    change: Partial<
      Omit<RunRecord, "run" | "config" | "createdMs" | "outdated">
    >,
  ): void {
    const record = { ...this.find()!, ...change };
    this.#sql.exec(
      "UPDATE run SET state = ?, step = ?, fingerprint = ?, initialized = ?, settled = ?",
      record.state,
      record.step,
      record.fingerprint,
      Number(record.initialized),
      Number(record.settled),
    );
    this.#record = record;
  }

  /** Memory is a cache: read all anew. */
  forget(): void {
    this.#record = undefined;
  }

  /** Its tokenizer.json; null where tokens are bytes. */
  tokenizer(): string | null {
    const [row] = this.#sql.exec<{ json: string }>("SELECT * FROM tokenizer");
    return row?.json ?? null;
  }

  completion(
    kind: LeaseKind,
    step: number,
    microbatch: number,
  ): LossSum | undefined {
    const [row] = this.#sql.exec<{
      loss_sum: number | null;
      tokens: number;
      bytes: number;
    }>(
      "SELECT loss_sum, tokens, bytes FROM completions WHERE kind = ? AND step = ? AND microbatch = ?",
      kind,
      step,
      microbatch,
    );
    return (
      row && { lossSum: row.loss_sum, tokens: row.tokens, bytes: row.bytes }
    );
  }

  addCompletion(
    kind: LeaseKind,
    step: number,
    microbatch: number,
    { lossSum, tokens, bytes }: LossSum,
  ): void {
    this.#sql.exec(
      "INSERT INTO completions VALUES (?, ?, ?, ?, ?, ?)",
      kind,
      step,
      microbatch,
      lossSum,
      tokens,
      bytes,
    );
  }

  removeCompletion(step: number, microbatch: number): void {
    this.#sql.exec(
      "DELETE FROM completions WHERE kind = 'train' AND step = ? AND microbatch = ?",
      step,
      microbatch,
    );
  }

  /** Those of a step, in order of the microbatch. */
  completions(
    kind: LeaseKind,
    step: number,
  ): (LossSum & { microbatch: number })[] {
    const rows = this.#sql.exec<{
      microbatch: number;
      loss_sum: number | null;
      tokens: number;
      bytes: number;
    }>(
      "SELECT microbatch, loss_sum, tokens, bytes FROM completions WHERE kind = ? AND step = ? ORDER BY microbatch",
      kind,
      step,
    );
    return Array.from(rows, (row) => ({
      microbatch: row.microbatch,
      lossSum: row.loss_sum,
      tokens: row.tokens,
      bytes: row.bytes,
    }));
  }

  addCommit(commit: CommitRecord): void {
    this.#sql.exec(
      "INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      commit.step,
      commit.clipCoefficient,
      commit.learningRates.matrix,
      commit.gradNorm,
      commit.trainLoss.perToken,
      commit.tokens,
      commit.committedMs,
      JSON.stringify(commit.learningRates),
      commit.trainLoss.perByte,
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

  /** Of the last step that was committed, and of the last evaluation. */
  latestLosses(): Pick<
    RunStatus,
    "trainLoss" | "trainNatsPerByte" | "valLoss" | "valNatsPerByte"
  > {
    const [commit] = this.#sql.exec<{
      train_loss: number | null;
      train_nats_per_byte: number | null;
    }>(
      "SELECT train_loss, train_nats_per_byte FROM commits WHERE step < ? ORDER BY step DESC LIMIT 1",
      this.find()!.step,
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
   * History from `fromStep` on, in order. The last evaluation, after the last update, has a line
   * of its own: a learning rate of 0 and no training loss.
   */
  metrics(fromStep: number, limit: number): StepMetrics[] {
    const { step, config } = this.find()!;
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
    }>(
      `SELECT step, train_loss, grad_norm, learning_rate, tokens, loss,
              COALESCE(committed_ms, time_ms) AS time_ms,
              train_nats_per_byte, nats_per_byte
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
      tokens: row.tokens ?? this.tokensBefore(row.step),
      valLoss: row.loss,
      committedMs: row.time_ms,
      trainNatsPerByte: row.train_nats_per_byte,
      valNatsPerByte: row.nats_per_byte,
    }));
  }

  /** Tokens trained on in all steps below `step`. */
  tokensBefore(step: number): number {
    return this.commit(step - 1)?.tokens ?? 0;
  }

  trainers(): TrainerRecord[] {
    const rows = this.#sql.exec<{
      name: string;
      boot_id: string;
      last_seen_ms: number;
      completions: number;
    }>("SELECT * FROM trainers ORDER BY name");
    return Array.from(rows, (row) => ({
      name: row.name,
      bootId: row.boot_id,
      lastSeenMs: row.last_seen_ms,
      completions: row.completions,
    }));
  }

  putTrainer({ name, bootId, lastSeenMs, completions }: TrainerRecord): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO trainers VALUES (?, ?, ?, ?)",
      name,
      bootId,
      lastSeenMs,
      completions,
    );
  }

  removeTrainer(name: string): void {
    this.#sql.exec("DELETE FROM trainers WHERE name = ?", name);
  }
}
