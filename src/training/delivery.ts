/** What came of a lease, on its way: every shard gets its frame, then the run is told. */
import { frameDigest, sealFrame } from "../api/frame.ts";
import type {
  Completion,
  CompletionResponse,
  Lease,
  Phases,
} from "../api/lease.ts";
import { free } from "../memory/free.ts";
import type { RunPlan } from "./microbatch.ts";
import type { TrainingService } from "./service.ts";

/** A microbatch's gradient as it travels: a frame for each shard, in order. Of an evaluation, none. */
export type SealedGradient = readonly Uint8Array<ArrayBuffer>[];

/** `frames` have room for their headers, and are the sealed ones afterwards. */
export function sealGradient(
  { config: { gradientDtype: dtype }, shards }: RunPlan,
  { step, index: microbatch }: Lease,
  frames: readonly Uint8Array<ArrayBuffer>[],
): Promise<SealedGradient> {
  const common = { kind: "gradient", dtype, step, microbatch } as const;
  return Promise.all(
    frames.map((bytes, index) => {
      const { start, length } = shards[index]!;
      return sealFrame({ ...common, start, length }, bytes);
    }),
  );
}

export function digestsOf(gradient: SealedGradient): string[] {
  return gradient.map(frameDigest);
}

/** Told how long its microbatch took; what is pushed is added on the way. */
type Told = Completion & { phases: Phases };

export class Delivery {
  readonly lease: Lease;
  readonly told: Told;
  /** Of the run. Errors: those of the service */
  readonly answer: Promise<CompletionResponse>;
  #isUnderway = true;

  /** `onPushed`: every shard has acknowledged, and the run is told next. */
  constructor(
    service: Pick<TrainingService, "push" | "complete">,
    { shards }: RunPlan,
    lease: Lease,
    gradient: SealedGradient,
    told: Told,
    onPushed: () => void,
  ) {
    this.lease = lease;
    this.told = told;
    const send = async (): Promise<CompletionResponse> => {
      await Promise.all(
        gradient.map(async (frame, index) => {
          await service.push(shards[index]!.index, lease, frame);
          told.phases.pushedBytes += frame.length;
          free(frame);
        }),
      );
      onPushed();
      return service.complete(lease, told);
    };
    this.answer = send().finally(() => (this.#isUnderway = false));
    // Heard of where it is waited for.
    this.answer.catch(() => {});
  }

  get isUnderway(): boolean {
    return this.#isUnderway;
  }
}
