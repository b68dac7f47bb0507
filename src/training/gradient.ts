/**
 * A gradient on the wire. All three dtypes are unbiased, and the bytes of an element depend on its place in
 * the flat vector, never on how that is cut into parts.
 *
 *   mxfp4   RHT of 64-segments, Algorithm 2 (floor scale, × 3/4, stochastic); decoding multiplies by
 *           4/3 and undoes the RHT
 *   bf16    stochastic rounding
 *   f32     as it is, every NaN the same one
 *
 * Source: Algorithms 2 and 3 of arXiv 2502.20586
 */
import { payloadBytes } from "../api/frame.ts";
import { ALGORITHM_2 } from "../api/recipe.ts";
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
import type { GradientSink } from "../model/flat-vector.ts";
import {
  overlap,
  paddedLength,
  type ParameterTensor,
  type Range,
} from "../model/parameters.ts";

const SEGMENT_LENGTH = 64;

/** What the noise of one microbatch's gradient depends on. */
export type GradientKey = { seed: number; step: number; microbatch: number };

/** Takes the gradient of one microbatch tensor by tensor, and has the payload of each of `ranges`. */
export class EncodedGradient implements GradientSink {
  readonly #dtype: WireDtype;
  readonly #key: GradientKey;
  readonly #parts: readonly PayloadRange[];

  /** The payloads lie where the caller has room for them; what no tensor fills stays zero there. */
  constructor(
    dtype: WireDtype,
    key: GradientKey,
    parts: readonly PayloadRange[],
  ) {
    this.#dtype = dtype;
    this.#key = key;
    this.#parts = parts;
  }

  open(tensor: ParameterTensor): Pointer {
    return kernels().arena.allocZeroedF32(paddedLength(tensor));
  }

  close(tensor: ParameterTensor, gradient: Pointer): void {
    const [start, length] = [tensor.offset, paddedLength(tensor)];
    const { arena } = kernels();
    arena.scope(() => {
      const dtype = this.#dtype;
      const encoded = encodePart(dtype, gradient, start, length, this.#key);
      const payload = arena.u8(encoded, payloadBytes(dtype, length));
      for (const part of this.#parts) {
        const shared = overlap({ start, length }, part);
        if (shared.length === 0) continue;
        const from = shared.start - start;
        const to = shared.start - part.start;
        copyPayload(
          dtype,
          { payload: part.payload, length: part.length, from: to },
          { payload, length, from },
          shared.length,
        );
      }
    });
  }
}

/** A range of the flat vector, and room for its payload. */
export type PayloadRange = Range & { payload: Uint8Array };

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
      dequantizeMxfp4(out, bytes, scales, length, ALGORITHM_2.correction);
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
  copyPayload(
    dtype,
    { payload: part, length: count, from: 0 },
    { payload, length, from },
    count,
  );
  return part;
}

/** A payload of `length` elements, from the element `from` on. */
type PayloadPart = { payload: Uint8Array; length: number; from: number };

/** `count` elements of one payload to another. Multiples of 32. */
function copyPayload(
  dtype: WireDtype,
  to: PayloadPart,
  source: PayloadPart,
  count: number,
): void {
  const copy = (
    unit: (elements: number) => number,
    at: (part: PayloadPart) => number,
  ): void => {
    const first = at(source) + unit(source.from);
    to.payload.set(
      source.payload.subarray(first, first + unit(count)),
      at(to) + unit(to.from),
    );
  };
  if (dtype !== "mxfp4") {
    copy(
      (elements) => payloadBytes(dtype, elements),
      () => 0,
    );
    return;
  }
  copy(
    (elements) => elements / 2,
    () => 0,
  );
  copy(
    (elements) => elements / 32,
    ({ length }) => length / 2, // scales follow all elements
  );
}

/** The payload of a part, allocated in the caller's scope, or the part itself. */
function encodePart(
  dtype: WireDtype,
  gradient: Pointer,
  start: number,
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
    encodeBf16Stochastic(payload, gradient, length, rounding, start);
    return payload;
  }
  hadamard(gradient, length, SEGMENT_LENGTH, wireSigns(key));
  quantizeMxfp4(payload, payload + length / 2, gradient, length, {
    rounding: { mode: "stochastic", key: rounding, firstElement: start },
    scale: "floor",
    prescale: ALGORITHM_2.prescale,
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
