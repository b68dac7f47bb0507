/** A run on disk: its record, and the completions of its steps. */
import type { LeaseKind, RunConfig, RunState } from "../../api/types.ts";
import { RunHistory } from "./run-history.ts";
import { RUN_SCHEMA } from "./run-schema.ts";
import type { LossSum } from "../../training/step-end.ts";

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
  readonly history: RunHistory;
  #record: RunRecord | undefined;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
    this.history = new RunHistory(storage.sql);
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
}
