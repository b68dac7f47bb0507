/**
 * The parameters of the step that is due, as a trainer has them: kept while its microbatches last, asked for
 * ahead of the next step, and taken as differences where the link is slow.
 */
import { type Frame, frameBytes } from "../api/frame.ts";
import type { Lease } from "../api/lease.ts";
import { PackedWeights } from "../model/packed-weights.ts";
import { LinkPace } from "./link-pace.ts";
import type { RunPlan, StepParameters } from "./microbatch.ts";
import type { PhaseClock } from "./phase-clock.ts";
import { letGoOf, type ParameterFrame } from "./pulled-parameters.ts";
import type { TrainingService } from "./service.ts";

/** So long a shard waits at a time for a step that is to come. */
const AHEAD_MS = 10_000;

type Step = Pick<Lease, "step" | "rewinds">;

export class StepPulls {
  readonly #service: TrainingService;
  readonly #clock: PhaseClock;
  readonly #isNear: boolean;
  #pulled: (StepParameters & Step) | undefined;
  /** The frames of the step to come, asked for before it is there. */
  #ahead: (Step & { frames: Promise<ParameterFrame[]> }) | undefined;
  readonly #link = new LinkPace();

  /** `isNear`: in an edge's isolate, which is near the shards, and has no room for differences or a second step. */
  constructor(service: TrainingService, clock: PhaseClock, isNear: boolean) {
    this.#service = service;
    this.#clock = clock;
    this.#isNear = isNear;
  }

  /** Those of the step, whose weights are packed in `panelBytes` at most. */
  async pull(
    { shards }: RunPlan,
    { step, rewinds }: Step,
    panelBytes: number,
  ): Promise<StepParameters> {
    const known = this.#pulled;
    if (known && isSame(known, { step, rewinds })) return known;
    // A base becomes what is pulled.
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
   * Nothing of the step is left to compute, or will be soon: ask for the next one's parameters, which come the moment that
   * they are there. Not where a second step has no room beside the first, nor where it travels as the difference to it.
   */
  pullAhead({ config, shards }: RunPlan, { step, rewinds }: Step): void {
    if (this.#isNear || this.#link.isSlow || step >= config.steps) return;
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
    // Where it is refused, it is asked for again when it is wanted.
    frames.catch(() => {});
    this.#ahead = { ...next, frames };
  }

  /** Let go of what the next microbatch of the step would have used. */
  letGo(): void {
    const pulled = this.#pulled;
    this.#pulled = undefined;
    this.#ahead = undefined;
    if (!pulled) return;
    for (const frame of pulled.frames) letGoOf(frame);
    pulled.packedWeights.free();
  }

  /** The frames of `step`, if those are at hand and whole; nobody else has them then. */
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

/** Of a step that is only half there, nobody keeps the other half. */
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
