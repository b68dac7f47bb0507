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

/** Pulls that any shard of this isolate is answering, until their last byte is read. */
let underway = 0;

export class PullDesk {
  readonly #current: CurrentState;
  readonly #waiters: StepWaiters;
  /** The step of the latest pull that was read to its end, or whose reader has left. */
  #pulledStep = -1;

  constructor(current: CurrentState, waiters: StepWaiters) {
    this.#current = current;
    this.#waiters = waiters;
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
        this.#pulledStep = pull.step;
      });
      return response;
    } catch (error) {
      underway--;
      throw error;
    }
  }

  /** Whether the parameters of `step` were pulled, and no shard of this isolate is answering a pull. */
  isQuiet(step: number): boolean {
    return underway === 0 && this.#pulledStep >= step;
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
