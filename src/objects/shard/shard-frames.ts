/** The frames of one shard: the parameters it gives, and the gradients it takes. */
import { AppError } from "../../api/errors.ts";
import { encodeFrame, type Frame } from "../../api/frame.ts";
import { kernels } from "../../kernels/runtime.ts";
import { encodeBf16 } from "../../kernels/vector.ts";
import { parameterDtype } from "../../training/pulled-parameters.ts";
import type { ShardGeometry } from "../../training/shard-update.ts";

/** The frame of a shard's parameters. They are copied before this returns. */
export function encodeParameters(
  { config, range }: ShardGeometry,
  parameters: Float32Array,
  step: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const { start, length } = range;
  const dtype = parameterDtype(config);
  const { arena } = kernels();
  const payload = arena.scope(() => {
    const values = arena.copyIn(parameters);
    if (dtype === "f32") return arena.u8(values, 4 * length).slice();
    const bits = arena.alloc(2 * length);
    encodeBf16(bits, values, length);
    return arena.u8(bits, 2 * length).slice();
  });
  return encodeFrame(
    { kind: "parameters", dtype, step, microbatch: 0, start, length },
    payload,
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
  if (microbatch >= config.microbatches) {
    throw new AppError(
      "invalid_number",
      `Expected a microbatch from 0 to ${config.microbatches - 1}, got ${microbatch}`,
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

export function checkRunning(ended: boolean): void {
  if (!ended) return;
  throw new AppError(
    "run_ended",
    "Expected a run that takes gradients, got one that has ended",
  );
}
