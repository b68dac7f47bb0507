/** Answers pulls: parameters of the step that the shard is at, or will soon reach. */
import { FRAME_BASE } from "../../api/frame-delta.ts";
import { parameterDtype } from "../../training/pulled-parameters.ts";
import { checkCreation } from "../platform/author.ts";
import type { CurrentState } from "./current-state.ts";
import {
  checkExcluded,
  checkRewinds,
  checkRunning,
  checkStep,
} from "./shard-frames.ts";
import type { StepWaiters } from "./step-waiters.ts";

/** A trainer's request. */
export type Pull = {
  caller: string;
  step: number;
  /** The digest of the frame that the trainer has. */
  base: string | undefined;
  /** How often the run had been rewound when the lease was given. */
  rewinds: number | undefined;
  /** How long to wait for the shard to reach the step. */
  waitMs: number;
};

/** Pulls that any shard of this isolate is answering, until their last byte is read, and when one last ended. */
let underway = 0;
let endedMs = 0;

/** How often to look whether trainers have pulled. */
const LOOK_MS = 10;
/** Trainers do not all notice a commit at once. */
const APART_MS = 50;
/** Who pulls later than this has a slow link. */
const EXPECTED_MS = 5000;

/** The steps that shards of this isolate have reached, and whose first pull they expect, until when. */
const expected = new Map<PullDesk, { step: number; endMs: number }>();

/** Waits until no shard of this isolate is answering a pull, has just answered one, or expects one; at most 5 s. */
export async function untilPulled(): Promise<void> {
  const endMs = Date.now() + EXPECTED_MS;
  do await scheduler.wait(LOOK_MS);
  while (!isQuiet() && Date.now() < endMs);
}

function isQuiet(): boolean {
  const now = Date.now();
  for (const [desk, { endMs }] of expected)
    if (endMs <= now) expected.delete(desk);
  return underway === 0 && expected.size === 0 && now - endedMs >= APART_MS;
}

export class PullDesk {
  readonly #current: CurrentState;
  readonly #waiters: StepWaiters;

  constructor(current: CurrentState, waiters: StepWaiters) {
    this.#current = current;
    this.#waiters = waiters;
  }

  /** The shard has reached `step`, whose parameters trainers will now pull. */
  expect(step: number): void {
    expected.set(this, { step, endMs: Date.now() + EXPECTED_MS });
  }

  /**
   * The frame of the parameters at exactly `step` (f32 for recipe `f32`, otherwise bf16), or its difference to
   * `base`.
   */
  async pull(pull: Pull): Promise<Response> {
    await this.#reach(pull);
    underway++;
    try {
      const { response, written } = await this.#answer(pull);
      void written.finally(() => {
        underway--;
        endedMs = Date.now();
        const awaited = expected.get(this);
        if (awaited && awaited.step <= pull.step) expected.delete(this);
      });
      return response;
    } catch (error) {
      underway--;
      throw error;
    }
  }

  async #answer(
    pull: Pull,
  ): Promise<{ response: Response; written: Promise<void> }> {
    const { caller, step, base, rewinds } = pull;
    if (rewinds !== undefined) checkRewinds(this.#current.load(), rewinds);
    const { geometry, step: current, ended } = this.#admit(caller);
    checkRunning(ended && step > current);
    checkStep(current, step, "step_not_reached");
    const { resident } = this.#current;
    const frame = await (resident.frame(step) ??
      resident.encode(geometry, this.#current.state(), step));
    const delta =
      base && parameterDtype(geometry.config) === "bf16"
        ? resident.delta(base, step, frame.bytes)
        : undefined;
    const { body, written } = (delta ?? frame).read();
    const headers = delta && { [FRAME_BASE]: base! };
    return { response: new Response(body, { headers }), written };
  }

  /** Waits for the shard to reach the step, unless it never will. */
  async #reach({ caller, step, waitMs }: Pull): Promise<void> {
    if (waitMs === 0) return;
    const { rewinds: before } = this.#current.load();
    await this.#waiters.wait(waitMs, () => {
      const { step: current, ended, rewinds } = this.#admit(caller);
      return current >= step || ended || rewinds !== before;
    });
  }

  #admit(caller: string) {
    const loaded = this.#current.load();
    checkCreation(loaded.keys, caller);
    checkExcluded(loaded.excluded, caller);
    return loaded;
  }
}
