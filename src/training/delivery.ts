/** Sends the result of a lease: each shard gets its frame, then the run gets the completion. */
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

/** A microbatch's gradient as it is sent: one frame per shard, in order. Empty for an evaluation. */
export type SealedGradient = readonly Uint8Array<ArrayBuffer>[];

/** Writes the headers, for which `frames` have room, in place. */
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

/** The completion, with the time its microbatch took; pushed bytes are added as they are acknowledged. */
type Told = Completion & { phases: Phases };

export class Delivery {
  readonly lease: Lease;
  readonly told: Told;
  /** The run's answer to the completion. Errors: those of the service */
  readonly answer: Promise<CompletionResponse>;
  #isUnderway = true;

  /** `onPushed` is called when every shard has acknowledged, just before the completion is sent. */
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
    // Whoever awaits `answer` gets the error; this only prevents an unhandled rejection.
    this.answer.catch(() => {});
  }

  get isUnderway(): boolean {
    return this.#isUnderway;
  }
}
