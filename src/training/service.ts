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
 * What a trainer needs from a run. Implemented by `client` over HTTP, and by tests in memory. Implementations retry
 * what may pass; an `AppError` that they throw is final.
 */
export type TrainingService = {
  status(): Promise<RunStatus>;
  /** The next lease; waits a bounded time for one. */
  lease(request: LeaseRequest): Promise<LeaseResponse>;
  complete(lease: Lease, completion: Completion): Promise<CompletionResponse>;
  /** A shard's parameters at exactly `step`. Errors: `step_gone` if the shard is past it */
  pull(
    shard: number,
    step: number,
    options?: PullOptions,
  ): Promise<ParameterFrame>;
  /** Stores a shard's part of one microbatch's gradient. Idempotent. */
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
  /** The dataset's tokenizer.json. */
  tokenizer(dataset: PinnedDataset): Promise<string>;
};
