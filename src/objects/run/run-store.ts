/** A run on disk: its record. What was told of its microbatches is in `ballots`, what came of its steps in `history`. */
import type { RunConfig } from "../../api/run-config.ts";
import type { RunState } from "../../api/run-status.ts";
import type { RunKeys } from "../platform/author.ts";
import { BallotStore } from "./ballot-store.ts";
import { RunHistory } from "./run-history.ts";
import { RUN_SCHEMA } from "./run-schema.ts";

export type RunRecord = {
  run: string;
  /** What people call it; null where nobody does. */
  name: string | null;
  config: RunConfig;
  state: RunState;
  /** The step of the parameters; updates so far. */
  step: number;
  /** Of the trainers that may join; null before the first. */
  fingerprint: string | null;
  /** The join token whose trainer set it, to which the owner's trainers need not keep; null for the owner. */
  fingerprintBy: string | null;
  createdMs: number;
  keys: RunKeys;
  /** Every shard has been initialized, and has these keys. */
  initialized: boolean;
  /** How often the run has gone back to an earlier step. */
  rewinds: number;
  /** The step that its shards are about to go back to. */
  rewindTo: number | null;
  /** The run has ended, and shards and directory know. */
  settled: boolean;
  /** An earlier release began it, whose parameters mean something else: nobody goes on with it. */
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

  /** `tokenizer` is null where tokens are bytes. */
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

  /** undefined when there is no such run. */
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

  /** Change the record, on disk and in memory. */
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

  /** Memory is a cache: read all anew. */
  forget(): void {
    this.#record = undefined;
  }

  /** Its tokenizer.json; null where tokens are bytes. */
  tokenizer(): string | null {
    const [row] = this.#sql.exec<{ json: string }>("SELECT * FROM tokenizer");
    return row?.json ?? null;
  }
}
