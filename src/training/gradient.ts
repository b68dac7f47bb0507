/**
 * Encoding of gradients on the wire. An element's bytes depend on its position in the flat vector, not on how the
 * vector is cut into parts.
 *
 *   mxfp4        RHT of 64-segments, Algorithm 2 (floor scale, × 3/4, stochastic); decoding multiplies by
 *                4/3 and inverts the RHT
 *   mxfp4-eden   RHT of 64-segments, Algorithm 1 (nearest), and an 8-bit factor per segment that undoes the
 *                shrinkage of rounding; decoding multiplies by it and inverts the RHT
 *   bf16         stochastic rounding
 *   f32          unchanged, except that every NaN becomes the same one
 *
 * mxfp4 and bf16 are unbiased. mxfp4-eden is unbiased on average over all rotations; over those of random signs and a
 * Hadamard matrix, a bias of some thousandths of one draw's error remains (test/training/gradient.test.ts).
 *
 * Source: Algorithms 1 to 3 of arXiv 2502.20586; EDEN, arXiv 2108.08842
 */
import { PAYLOAD_SECTIONS, payloadBytes } from "../api/frame.ts";
import { ALGORITHM_2 } from "../api/recipe.ts";
import type { WireDtype } from "../api/run-config.ts";
import type { Pointer } from "../kernels/arena.ts";
import {
  dequantizeEdenMxfp4,
  type EdenParts,
  quantizeEdenMxfp4,
} from "../kernels/eden.ts";
import {
  drawSigns,
  hadamardTransform,
  hadamardInverse,
} from "../kernels/hadamard.ts";
import { dequantizeMxfp4, quantizeMxfp4 } from "../kernels/mxfp4.ts";
import {
  type NoiseKey,
  noiseKey,
  type Purpose,
  PURPOSE,
} from "../kernels/noise.ts";
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
  type ElementRange,
} from "../model/parameters.ts";

const SEGMENT_LENGTH = 64;

/** What the noise of one microbatch's gradient depends on. */
export type GradientKey = { seed: number; step: number; microbatch: number };

/** Encodes one microbatch's gradient tensor by tensor into the payloads of `parts`. */
export class EncodedGradient implements GradientSink {
  readonly #dtype: WireDtype;
  readonly #key: GradientKey;
  readonly #parts: readonly PayloadRange[];

  /** The caller allocates the payloads, zeroed: positions that no tensor covers are not written. */
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

/** A range of the flat vector, and the buffer for its payload. */
export type PayloadRange = ElementRange & { payload: Uint8Array };

/**
 * Decodes a payload to f32 `out` [length], and sets its padding to zero. The payload begins at `start` in the flat
 * vector, where `padding` is relative to `start`; `start` and `length` are multiples of 64.
 */
export function decodeGradient(
  out: Pointer,
  dtype: WireDtype,
  payload: Uint8Array,
  length: number,
  key: GradientKey,
  padding: readonly ElementRange[],
): void {
  const { arena } = kernels();
  arena.scope(() => {
    const bytes = arena.copyIn(payload);
    switch (dtype) {
      case "f32":
        arena.f32(out, length).set(arena.f32(bytes, length));
        break;
      case "bf16":
        decodeBf16(out, bytes, length);
        break;
      case "mxfp4": {
        const { elements, scales } = partsOf(bytes, length);
        dequantizeMxfp4(out, elements, scales, length, ALGORITHM_2.correction);
        hadamardInverse(out, length, SEGMENT_LENGTH, wireSigns(key));
        break;
      }
      case "mxfp4-eden":
        dequantizeEdenMxfp4(out, partsOf(bytes, length), length);
        hadamardInverse(out, length, SEGMENT_LENGTH, wireSigns(key));
    }
    const values = arena.f32(out, length);
    for (const range of padding) {
      values.fill(0, range.start, range.start + range.length);
    }
  });
}

/** A copy of the part of a payload that holds elements `[from, from + count)`; both are multiples of 64. */
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

/** Copies `count` elements of one payload to another, section by section. Positions and `count` are multiples of 64. */
function copyPayload(
  dtype: WireDtype,
  to: PayloadPart,
  source: PayloadPart,
  count: number,
): void {
  let [at, sourceAt] = [0, 0]; // where the section begins
  for (const { bytes, elements } of PAYLOAD_SECTIONS[dtype]) {
    const size = (length: number) => (length * bytes) / elements;
    const first = sourceAt + size(source.from);
    to.payload.set(
      source.payload.subarray(first, first + size(count)),
      at + size(to.from),
    );
    at += size(to.length);
    sourceAt += size(source.length);
  }
}

/** The payload of `length` elements, allocated in the caller's arena scope; for f32, `gradient` itself. */
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
  const noise = (purpose: Purpose): NoiseKey =>
    noiseKey(key.seed, purpose, key.step, key.microbatch);
  const rounding = noise(PURPOSE.wireRounding);
  if (dtype === "bf16") {
    encodeBf16Stochastic(payload, gradient, length, rounding, start);
    return payload;
  }
  hadamardTransform(gradient, length, SEGMENT_LENGTH, wireSigns(key));
  const parts = partsOf(payload, length);
  if (dtype === "mxfp4-eden") {
    const factors = noise(PURPOSE.wireFactors);
    quantizeEdenMxfp4(parts, gradient, length, factors, start);
    return payload;
  }
  quantizeMxfp4(parts.elements, parts.scales, gradient, length, {
    rounding: { mode: "stochastic", key: rounding, firstElement: start },
    scale: "floor",
    prescale: ALGORITHM_2.prescale,
  });
  return payload;
}

/** Pointers to the sections of an MXFP4 payload; only mxfp4-eden has factors. */
function partsOf(payload: Pointer, length: number): EdenParts {
  const scales = payload + length / 2;
  return { elements: payload, scales, factors: scales + length / 32 };
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
