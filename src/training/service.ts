import type { PinnedDataset } from "../api/dataset.ts";
import type {
  Completion,
  CompletionResponse,
  Lease,
  LeaseRequest,
  LeaseResponse,
  PullOptions,
} from "../api/lease.ts";
import type { RunStatus } from "../api/run-status.ts";
import type { Tokens } from "./data.ts";
import type { ParameterFrame } from "./pulled-parameters.ts";

/**
 * What a trainer needs of a run, whoever provides it: `client` does over HTTP, a test in memory.
 * Calls that fail for good throw an `AppError`; those worth repeating are repeated inside.
 */
export type TrainingService = {
  status(): Promise<RunStatus>;
  /** The next lease; waits a bounded time for one. */
  lease(request: LeaseRequest): Promise<LeaseResponse>;
  complete(lease: Lease, completion: Completion): Promise<CompletionResponse>;
  /**
   * A shard's parameters at exactly `step`. Errors: `step_gone`, once the shard is past it
   */
  pull(
    shard: number,
    step: number,
    options?: PullOptions,
  ): Promise<ParameterFrame>;
  /** Store one microbatch's gradient of one shard; repeating it changes nothing. */
  push(
    shard: number,
    lease: Lease,
    frame: Uint8Array<ArrayBuffer>,
  ): Promise<void>;
  /** Token ids at `[start, start + length)` of the corpus. */
  tokens(
    dataset: PinnedDataset,
    start: number,
    length: number,
  ): Promise<Tokens>;
  /** Its tokenizer.json. */
  tokenizer(dataset: PinnedDataset): Promise<string>;
};
