/**
 * Parameters shared by the trainer threads of a process. Each shard's frame of a step is pulled once, and shared by all
 * threads.
 */
import { AppError, type ErrorCode } from "../api/errors.ts";
import type { Frame } from "../api/frame.ts";
import type { PullOptions } from "../api/lease.ts";
import { free } from "../memory/free.ts";
import { LinkPace, NOTHING_TRAVELLED } from "../training/link-pace.ts";
import type { ParameterFrame } from "../training/pulled-parameters.ts";
import { MessageChannel, type MessagePort } from "node:worker_threads";

type Pull<T> = (
  shard: number,
  step: number,
  options?: PullOptions,
) => Promise<T>;

type PulledFrame = Frame & Pick<ParameterFrame, "travelled">;

/** A thread's request; `createdMs` and `rewinds` identify the run's timeline; `answer` receives a `PullAnswer`. */
export type PullRequest = {
  createdMs: number | undefined;
  shard: number;
  step: number;
  rewinds: number;
  waitMs: number | undefined;
  answer: MessagePort;
};
type PullAnswer =
  { frame: ParameterFrame } | { code: ErrorCode | undefined; message: string };

export class SharedPulls {
  readonly #pull: Pull<PulledFrame>;
  readonly #link = new LinkPace();
  #underway = 0;
  /** By shard, if the link is slow: the latest frame, as base of a delta. */
  readonly #bases = new Map<number, Frame>();
  /** By shard: the latest requested step. */
  readonly #latest = new Map<
    number,
    Pick<PullRequest, "createdMs" | "step" | "rewinds"> & {
      frame: Promise<ParameterFrame>;
    }
  >();

  constructor(pull: Pull<PulledFrame>) {
    this.#pull = pull;
  }

  async answer({ answer, ...asked }: PullRequest): Promise<void> {
    const told: PullAnswer = await this.#frame(asked).then(
      (frame) => ({ frame }),
      (error: Error) => ({
        code: error instanceof AppError ? error.code : undefined,
        message: error.message,
      }),
    );
    answer.postMessage(told);
    answer.close();
  }

  #frame({
    createdMs,
    shard,
    step,
    rewinds,
    waitMs,
  }: Omit<PullRequest, "answer">): Promise<ParameterFrame> {
    const latest = this.#latest.get(shard);
    if (
      latest?.step === step &&
      latest.rewinds === rewinds &&
      latest.createdMs === createdMs
    )
      return latest.frame.then((frame) => ({
        ...frame,
        travelled: NOTHING_TRAVELLED,
      }));
    const frame = this.#pullFrame(shard, step, rewinds, waitMs);
    const own = { createdMs, step, rewinds, frame };
    this.#latest.set(shard, own);
    // The next request tries again.
    frame.catch(() => {
      if (this.#latest.get(shard) === own) this.#latest.delete(shard);
    });
    return frame;
  }

  async #pullFrame(
    shard: number,
    step: number,
    rewinds: number,
    waitMs: number | undefined,
  ): Promise<ParameterFrame> {
    const kept = this.#bases.get(shard);
    const base = kept?.step === step - 1 ? kept : undefined;
    this.#bases.delete(shard);
    const beside = ++this.#underway;
    const asked = this.#pull(shard, step, { base, rewinds, waitMs });
    const frame = await asked.finally(() => this.#underway--);
    const { travelled } = frame;
    // Shards are pulled in parallel, and share the link.
    if (travelled)
      this.#link.measured(Array.from({ length: beside }, () => travelled));
    const shared = inSharedMemory(frame);
    if (this.#link.isSlow) this.#bases.set(shard, frame);
    else free(frame.payload);
    return shared;
  }
}

/**
 * The thread's side: `ask` sends a request to the process. `signal` cancels waiting for the answer; `createdMs` returns
 * the run's creation time, as the thread knows it.
 */
export function pullThrough(
  ask: (request: PullRequest) => void,
  signal: AbortSignal,
  createdMs: () => number | undefined,
): Pull<ParameterFrame> {
  return (shard, step, { rewinds = 0, waitMs } = {}) =>
    new Promise((resolve, reject) => {
      const { port1, port2 } = new MessageChannel();
      const leave = () => {
        port1.close();
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", leave, { once: true });
      port1.once("message", (told: PullAnswer) => {
        signal.removeEventListener("abort", leave);
        port1.close();
        if ("frame" in told) resolve(told.frame);
        else if (told.code) reject(new AppError(told.code, told.message));
        else reject(new Error(told.message));
      });
      ask({
        createdMs: createdMs(),
        shard,
        step,
        rewinds,
        waitMs,
        answer: port2,
      });
    });
}

function inSharedMemory({
  dtype,
  start,
  length,
  payload,
  travelled,
}: PulledFrame): ParameterFrame {
  const shared = new Uint8Array(new SharedArrayBuffer(payload.length));
  shared.set(payload);
  return {
    dtype,
    start,
    length,
    payload: shared,
    ...(travelled !== undefined && { travelled }),
  };
}
