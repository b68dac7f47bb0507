/** A run's record in SQLite. Results of microbatches are in `ballots`, commits and evaluations in `history`. */
import type { RunConfig } from "../../api/run-config.ts";
import type { RunState } from "../../api/run-status.ts";
import type { RunKeys } from "../platform/author.ts";
import { BallotStore } from "./ballot-store.ts";
import { RunHistory } from "./run-history.ts";
import { RUN_SCHEMA } from "./run-schema.ts";

export type RunRecord = {
  run: string;
  /** Display name, or null. */
  name: string | null;
  config: RunConfig;
  state: RunState;
  /** The number of updates so far: parameters are those of this step. */
  step: number;
  /** The fingerprint that trainers must have; null before the first. */
  fingerprint: string | null;
  /**
   * The join token whose trainer set the fingerprint, so that the owner's trainers may replace it; null if the owner
   * or its trainers did.
   */
  fingerprintBy: string | null;
  createdMs: number;
  keys: RunKeys;
  /** Whether every shard is initialized and has these keys. */
  initialized: boolean;
  /** How often the run was rewound. */
  rewinds: number;
  /** The step to which shards are being rewound. */
  rewindTo: number | null;
  /** Whether the run has ended and shards and directory know it. */
  settled: boolean;
  /** Whether the run is of an earlier release with another parameter order, so that it cannot continue. */
  outdated: boolean;
};

type RecordRow = {
  run: string;
  name: string | null;
  config: string;
  state: RunState;
  step: number;
  fingerprint: string | null;
  fingerprint_by: string | null;
  created_ms: number;
  creation: string;
  secret: string;
  initialized: number;
  settled: number;
  outdated: number;
  rewinds: number;
  rewind_to: number | null;
};

export class RunStore {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  readonly history: RunHistory;
  readonly ballots: BallotStore;
  #record: RunRecord | undefined;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
    this.history = new RunHistory(storage.sql);
    this.ballots = new BallotStore(storage.sql);
  }

  /** `tokenizer` is null if tokens are bytes. */
  create(
    run: string,
    name: string | null,
    config: RunConfig,
    tokenizer: string | null,
    keys: RunKeys,
    createdMs: number,
  ): void {
    RUN_SCHEMA.create(this.#sql);
    if (tokenizer !== null)
      this.#sql.exec("INSERT INTO tokenizer VALUES (?)", tokenizer);
    this.#sql.exec(
      "INSERT INTO run VALUES (?, ?, 'running', ?, NULL, ?, 0, 0, 0, ?, ?, NULL, 0, NULL, ?)",
      run,
      JSON.stringify(config),
      config.from?.resumed?.step ?? 0,
      createdMs,
      keys.creation,
      keys.secret,
      name,
    );
  }

  /** The record; undefined if there is no such run. */
  find(): RunRecord | undefined {
    if (this.#record) return this.#record;
    if (!RUN_SCHEMA.open(this.#storage)) return undefined;
    const row = this.#sql.exec<RecordRow>("SELECT * FROM run").one();
    this.#record = {
      run: row.run,
      name: row.name,
      config: JSON.parse(row.config) as RunConfig,
      state: row.state,
      step: row.step,
      fingerprint: row.fingerprint,
      fingerprintBy: row.fingerprint_by,
      createdMs: row.created_ms,
      keys: { creation: row.creation, secret: row.secret },
      initialized: row.initialized === 1,
      settled: row.settled === 1,
      outdated: row.outdated === 1,
      rewinds: row.rewinds,
      rewindTo: row.rewind_to,
    };
    return this.#record;
  }

  /** Changes the record, in storage and in memory. */
  update(
    change: Partial<
      Omit<RunRecord, "run" | "name" | "config" | "createdMs" | "outdated">
    >,
  ): void {
    const record = { ...this.find()!, ...change };
    this.#sql.exec(
      "UPDATE run SET state = ?, step = ?, fingerprint = ?, fingerprint_by = ?, secret = ?, initialized = ?, settled = ?, rewinds = ?, rewind_to = ?",
      record.state,
      record.step,
      record.fingerprint,
      record.fingerprintBy,
      record.keys.secret,
      Number(record.initialized),
      Number(record.settled),
      record.rewinds,
      record.rewindTo,
    );
    this.#record = record;
  }

  /** Drops the cache; everything is read again from storage. */
  forget(): void {
    this.#record = undefined;
  }

  /** The run's tokenizer.json; null if tokens are bytes. */
  tokenizer(): string | null {
    const [row] = this.#sql.exec<{ json: string }>("SELECT * FROM tokenizer");
    return row?.json ?? null;
  }
}
