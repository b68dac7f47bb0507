/**
 * A gradient on the wire. All three dtypes are unbiased and are encoded as one whole vector, so the
 * bytes of an element never depend on how the vector is cut into shards.
 *
 *   mxfp4   RHT of 64-segments, Algorithm 2 (floor scale, × 3/4, stochastic); decoding multiplies by
 *           4/3 and undoes the RHT
 *   bf16    stochastic rounding
 *   f32     as it is, every NaN the same one
 *
 * Source: Algorithms 2 and 3 of arXiv 2502.20586
 */
import { payloadBytes } from "../api/frame.ts";
import type { WireDtype } from "../api/types.ts";
import type { Pointer } from "../kernels/arena.ts";
import { drawSigns, hadamard, hadamardInverse } from "../kernels/hadamard.ts";
import { dequantizeMxfp4, quantizeMxfp4 } from "../kernels/mxfp4.ts";
import { noiseKey, PURPOSE } from "../kernels/noise.ts";
import { kernels } from "../kernels/runtime.ts";
import {
  canonicalizeNaN,
  decodeBf16,
  encodeBf16Stochastic,
} from "../kernels/vector.ts";
import type { Range } from "../model/gpt2/parameters.ts";

const SEGMENT_LENGTH = 64;

/** What the noise of one microbatch's gradient depends on. */
export type GradientKey = { seed: number; step: number; microbatch: number };

/**
 * One payload for each of `ranges`, copied out.
 *
 * Shapes:   gradient f32 [length], the whole flat vector, overwritten; ranges within it, starting
 *           at multiples of 64
 */
export function encodeGradient(
  dtype: WireDtype,
  gradient: Pointer,
  length: number,
  key: GradientKey,
  ranges: readonly Range[],
): Uint8Array<ArrayBuffer>[] {
  const { arena } = kernels();
  return arena.scope(() => {
    const whole = encodeWhole(dtype, gradient, length, key);
    const payload = arena.u8(whole, payloadBytes(dtype, length));
    return ranges.map((range) =>
      slicePayload(dtype, payload, length, range.start, range.length),
    );
  });
}

/**
 * f32 `out` [length] of a payload that starts at `start` in the flat vector; its padding becomes
 * zero. `start` and `length` are multiples of 64; `padding` is relative to `start`.
 */
export function decodeGradient(
  out: Pointer,
  dtype: WireDtype,
  payload: Uint8Array,
  length: number,
  key: GradientKey,
  padding: readonly Range[],
): void {
  const { arena } = kernels();
  arena.scope(() => {
    const bytes = arena.copyIn(payload);
    if (dtype === "f32") {
      arena.f32(out, length).set(arena.f32(bytes, length));
    } else if (dtype === "bf16") {
      decodeBf16(out, bytes, length);
    } else {
      const scales = bytes + length / 2;
      dequantizeMxfp4(out, bytes, scales, length, 4 / 3);
      hadamardInverse(out, length, SEGMENT_LENGTH, wireSigns(key));
    }
    const values = arena.f32(out, length);
    for (const range of padding) {
      values.fill(0, range.start, range.start + range.length);
    }
  });
}

/** The part of a payload that holds elements `[from, from + count)`, copied. Multiples of 32. */
export function slicePayload(
  dtype: WireDtype,
  payload: Uint8Array,
  length: number,
  from: number,
  count: number,
): Uint8Array<ArrayBuffer> {
  const part = new Uint8Array(payloadBytes(dtype, count));
  if (dtype !== "mxfp4") {
    const first = payloadBytes(dtype, from);
    part.set(payload.subarray(first, first + part.length));
    return part;
  }
  const scales = length / 2;
  part.set(payload.subarray(from / 2, (from + count) / 2));
  part.set(
    payload.subarray(scales + from / 32, scales + (from + count) / 32),
    count / 2,
  );
  return part;
}

/** The payload of the whole vector, allocated in the caller's scope. */
function encodeWhole(
  dtype: WireDtype,
  gradient: Pointer,
  length: number,
  key: GradientKey,
): Pointer {
  const { arena } = kernels();
  if (dtype === "f32") {
    canonicalizeNaN(gradient, length);
    return gradient;
  }
  const payload = arena.alloc(payloadBytes(dtype, length));
  const rounding = noiseKey(
    key.seed,
    PURPOSE.wireRounding,
    key.step,
    key.microbatch,
  );
  if (dtype === "bf16") {
    encodeBf16Stochastic(payload, gradient, length, rounding, 0);
    return payload;
  }
  hadamard(gradient, length, SEGMENT_LENGTH, wireSigns(key));
  quantizeMxfp4(payload, payload + length / 2, gradient, length, {
    rounding: { mode: "stochastic", key: rounding, firstElement: 0 },
    scale: "floor",
    prescale: 0.75,
  });
  return payload;
}

function wireSigns({ seed, step, microbatch }: GradientKey): Pointer {
  const signs = kernels().arena.allocF32(SEGMENT_LENGTH);
  drawSigns(
    signs,
    SEGMENT_LENGTH,
    noiseKey(seed, PURPOSE.wireSigns, step, microbatch),
  );
  return signs;
}
