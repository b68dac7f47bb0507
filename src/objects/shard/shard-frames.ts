/** The frames of one shard: the parameters it gives, and the gradients it takes. */
import { AppError } from "../../api/errors.ts";
import {
  type Frame,
  FRAME_HEADER_BYTES,
  payloadBytes,
  sealFrame,
} from "../../api/frame.ts";
import {
  parameterDtype,
  storeParameters,
} from "../../training/pulled-parameters.ts";
import type { ShardGeometry } from "../../training/shard-state.ts";
import type { Neighbours } from "../../training/subtrees.ts";

/** The frame of a shard's parameters, copied: whole once `seal` has given it its header. */
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

/** The run has such a microbatch. */
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

/** Its pushes come here: a lease's key says where they go. */
export function checkOwn({ first, count }: Neighbours, index: number): void {
  if (index >= first && index < first + count) return;
  throw new AppError(
    "no_lease",
    `Expected \`Lease-Key\` as the run has given it, which says where the gradient of microbatch ${index} goes, got one that was changed`,
  );
}

/** A frame must be what its URL and the run say. */
export function checkFrame(
  { config, range }: ShardGeometry,
  step: number,
  microbatch: number,
  frame: Frame,
): void {
  if (frame.kind !== "gradient") {
    throw new AppError(
      "malformed_frame",
      `Expected a gradient's frame, got one of ${frame.kind}`,
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

/** `later` is the refusal of a step that the shard has not reached; one that is past is gone. */
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

/** Of a pull: how often the run had gone back when the lease was given. */
export const REWINDS = "Rewinds";

/** Of a pull: how long to wait for the shard to reach the step. */
export const WAIT_MS = "Wait-Ms";

/** The lease for which it is pulled is of now. Errors: `step_gone` */
export function checkRewinds(
  { rewinds }: { rewinds: number },
  asked: number,
): void {
  if (asked === rewinds) return;
  throw new AppError(
    "step_gone",
    `Expected a lease that was given since the run has gone back ${rewinds} times, got one of after ${asked}`,
  );
}

export function checkExcluded(
  excluded: ReadonlySet<string>,
  author: string,
): void {
  if (!excluded.has(author)) return;
  throw new AppError(
    "forbidden",
    `Expected an author of whom the run takes results, got "${author}", which is revoked or under quarantine`,
  );
}

export function checkRunning(ended: boolean): void {
  if (!ended) return;
  throw new AppError(
    "run_ended",
    "Expected a run that goes on, got one that has ended",
  );
}
