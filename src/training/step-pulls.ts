/**
 * Pulls a step's parameters: keeps them for all its microbatches, requests those of the next step ahead of time, and
 * pulls differences if the link is slow.
 */
import { type Frame, frameBytes } from "../api/frame.ts";
import type { Lease } from "../api/lease.ts";
import { PackedWeights } from "../model/packed-weights.ts";
import { LinkPace } from "./link-pace.ts";
import type { RunPlan, StepParameters } from "./microbatch.ts";
import type { PhaseClock } from "./phase-clock.ts";
import { letGoOf, type ParameterFrame } from "./pulled-parameters.ts";
import type { TrainingService } from "./service.ts";

/** How long a shard holds a request for a step that it has not reached. */
const AHEAD_MS = 10_000;

type Step = Pick<Lease, "step" | "rewinds">;

export class StepPulls {
  readonly #service: TrainingService;
  readonly #clock: PhaseClock;
  readonly #isNear: boolean;
  readonly #waitsAhead: boolean;
  #pulled: (StepParameters & Step) | undefined;
  /** The frames of the next step, requested before it exists. */
  #ahead: (Step & { frames: Promise<ParameterFrame[]> }) | undefined;
  readonly #link = new LinkPace();

  /**
   * `isNear`: the trainer runs in an edge's isolate, which is close to the shards and has no room for differences or
   * a second step. `waitsAhead`: there are enough connections for requests that wait.
   */
  constructor(
    service: TrainingService,
    clock: PhaseClock,
    { isNear, waitsAhead }: { isNear: boolean; waitsAhead: boolean },
  ) {
    this.#service = service;
    this.#clock = clock;
    this.#isNear = isNear;
    this.#waitsAhead = waitsAhead;
  }

  /** The parameters of `step`, with at most `panelBytes` of packed weights. */
  async pull(
    { shards }: RunPlan,
    { step, rewinds }: Step,
    panelBytes: number,
  ): Promise<StepParameters> {
    const known = this.#pulled;
    if (known && isSame(known, { step, rewinds })) return known;
    // The previous step's frames are overwritten with the new ones.
    const bases = this.#link.isSlow ? this.#takeFrames(step - 1) : [];
    const ahead = this.#ahead;
    this.letGo();
    const frames =
      (ahead && isSame(ahead, { step, rewinds })
        ? await ahead.frames.catch(() => undefined)
        : undefined) ??
      (await allFrames(
        shards.map(({ index }) =>
          this.#service.pull(index, step, {
            base: bases[index],
            rewinds: rewinds ?? 0,
          }),
        ),
      ));
    const sizes = frames.map(({ dtype, length }) => frameBytes(dtype, length));
    for (const [index, { travelled }] of frames.entries())
      this.#clock.pulled(travelled?.bytes ?? sizes[index]!);
    if (!this.#isNear)
      this.#link.measured(frames.flatMap(({ travelled }) => travelled ?? []));
    const packedWeights = new PackedWeights(panelBytes);
    this.#pulled = { step, rewinds, frames, packedWeights };
    return this.#pulled;
  }

  /**
   * Requests the next step's parameters, which arrive as soon as they exist. Called when nothing of the step is left
   * to compute, or will be soon. Does nothing if there is no room for a second step, if the frames of this step
   * are the base of a difference, or if a request that waits would take a connection that others need.
   */
  pullAhead({ config, shards }: RunPlan, { step, rewinds }: Step): void {
    if (this.#isNear || !this.#waitsAhead || this.#link.isSlow) return;
    if (step >= config.steps) return;
    const next = { step: step + 1, rewinds };
    if (this.#ahead && isSame(this.#ahead, next)) return;
    const frames = Promise.all(
      shards.map(({ index }) =>
        this.#service.pull(index, next.step, {
          rewinds: rewinds ?? 0,
          waitMs: AHEAD_MS,
        }),
      ),
    );
    // On an error, `pull` requests it again.
    frames.catch(() => {});
    this.#ahead = { ...next, frames };
  }

  /** Frees the parameters and packed weights of the step. */
  letGo(): void {
    const pulled = this.#pulled;
    this.#pulled = undefined;
    this.#ahead = undefined;
    if (!pulled) return;
    for (const frame of pulled.frames) letGoOf(frame);
    pulled.packedWeights.free();
  }

  /** The frames of `step`, if all are kept and complete with digests. The caller owns them then. */
  #takeFrames(step: number): Frame[] {
    const pulled = this.#pulled;
    if (pulled?.step !== step) return [];
    const frames = pulled.frames.filter(
      (frame): frame is Frame => "digest" in frame,
    );
    if (frames.length < pulled.frames.length) return [];
    pulled.packedWeights.free();
    this.#pulled = undefined;
    return frames;
  }
}

function isSame(one: Step, other: Step): boolean {
  return one.step === other.step && one.rewinds === other.rewinds;
}

/** All frames of a step; if one fails, the others are given up. */
async function allFrames(
  pulls: readonly Promise<ParameterFrame>[],
): Promise<ParameterFrame[]> {
  const outcomes = await Promise.allSettled(pulls);
  const frames = outcomes.flatMap((each) =>
    each.status === "fulfilled" ? each.value : [],
  );
  const failed = outcomes.find((each) => each.status === "rejected");
  if (!failed) return frames;
  for (const frame of frames) letGoOf(frame);
  throw failed.reason;
}
