/** The frames of a shard: the parameters that it sends, and the gradients that it receives. */
import { AppError } from "../../api/errors.ts";
import {
  FRAME_HEADER_BYTES,
  type FrameHeader,
  payloadBytes,
  sealFrame,
} from "../../api/frame.ts";
import {
  parameterDtype,
  storeParameters,
} from "../../training/pulled-parameters.ts";
import type { ShardGeometry } from "../../training/shard-state.ts";
import type { Neighbours } from "../../training/subtrees.ts";

/** Copies a shard's parameters to a frame; `seal` completes it with its header. */
export function encodeParameters(
  { config, range }: ShardGeometry,
  parameters: Float32Array,
  step: number,
): {
  bytes: Uint8Array<ArrayBuffer>;
  seal: () => Promise<Uint8Array<ArrayBuffer>>;
} {
  const { start, length } = range;
  const dtype = parameterDtype(config);
  const payload = payloadBytes(dtype, length);
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + payload);
  storeParameters(bytes.subarray(FRAME_HEADER_BYTES), dtype, parameters);
  const header = { kind: "parameters", microbatch: 0, step, start } as const;
  return { bytes, seal: () => sealFrame({ ...header, dtype, length }, bytes) };
}

/** Checks that the run has such a microbatch. */
export function checkMicrobatch(
  { config }: ShardGeometry,
  index: number,
): void {
  if (index < config.microbatches) return;
  throw new AppError(
    "invalid_number",
    `Expected a microbatch from 0 to ${config.microbatches - 1}, got ${index}`,
  );
}

/** Checks that pushes of this microbatch come here, as the lease key tells. */
export function checkOwn({ first, count }: Neighbours, index: number): void {
  if (index >= first && index < first + count) return;
  throw new AppError(
    "no_lease",
    `Expected \`Lease-Key\` as the run issued it, since it tells where the gradient of microbatch ${index} goes, got a modified one`,
  );
}

/** Checks what a frame says of itself against its URL and the run. */
export function checkFrame(
  { config, range }: ShardGeometry,
  step: number,
  microbatch: number,
  frame: FrameHeader,
): void {
  if (frame.kind !== "gradient") {
    throw new AppError(
      "malformed_frame",
      `Expected a frame of kind gradient, got one of kind ${frame.kind}`,
    );
  }
  if (frame.step !== step || frame.microbatch !== microbatch) {
    throw new AppError(
      "shape_mismatch",
      `Expected a frame of step ${step}, microbatch ${microbatch}, as in the URL; got step ${frame.step}, microbatch ${frame.microbatch}`,
    );
  }
  if (frame.dtype !== config.gradientDtype) {
    throw new AppError(
      "unsupported_dtype",
      `Expected the run's gradient dtype ${config.gradientDtype}, got ${frame.dtype}`,
    );
  }
  if (frame.start !== range.start || frame.length !== range.length) {
    throw new AppError(
      "shape_mismatch",
      `Expected elements [${range.start}, ${range.start + range.length}) of shard ${range.index}, got [${frame.start}, ${frame.start + frame.length})`,
    );
  }
}

/** `later` is the error code for a step that the shard has not reached; for a past one it is `step_gone`. */
export function checkStep(
  current: number,
  asked: number,
  later: "future_step" | "step_not_reached",
): void {
  if (asked > current) {
    throw new AppError(
      later,
      `Expected step ${current}, where the shard is; got ${asked}, which it has not reached`,
    );
  }
  if (asked < current) {
    throw new AppError(
      "step_gone",
      `Expected step ${current}, where the shard is; got ${asked}, which is past`,
    );
  }
}

/** Header of a pull: how often the run had been rewound when the lease was given. */
export const REWINDS = "Rewinds";

/** Header of a pull: how long to wait for the shard to reach the step. */
export const WAIT_MS = "Wait-Ms";

/** Checks that the lease was given after the last rewind. Errors: `step_gone` */
export function checkRewinds(
  { rewinds }: { rewinds: number },
  asked: number,
): void {
  if (asked === rewinds) return;
  throw new AppError(
    "step_gone",
    `Expected a lease given after rewind ${rewinds} of the run, its last, got one given after rewind ${asked}`,
  );
}

export function checkExcluded(
  excluded: ReadonlySet<string>,
  author: string,
): void {
  if (!excluded.has(author)) return;
  throw new AppError(
    "forbidden",
    `Expected an author whose results the run accepts, got "${author}", which is revoked or quarantined`,
  );
}

export function checkRunning(ended: boolean): void {
  if (!ended) return;
  throw new AppError(
    "run_ended",
    "Expected a run that has not ended, got one that has",
  );
}
