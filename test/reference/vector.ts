/** Slow twins of the vector, bf16 and AdamW kernels, in f64. */

const bits = new DataView(new ArrayBuffer(4));

function f32Bits(value: number): number {
  bits.setFloat32(0, value);
  return bits.getUint32(0);
}

function fromF32Bits(word: number): number {
  bits.setUint32(0, word);
  return bits.getFloat32(0);
}

/** The bf16 nearest to an f32, found among its two neighbours; ties to the even mantissa. */
export function encodeBf16(x: number): number {
  if (Number.isNaN(x)) return 0x7fc0;
  const down = f32Bits(x) >>> 16; // towards zero
  if (!Number.isFinite(x)) return down;
  const up = down + 1;
  const below = Math.abs(x - decodeBf16(down));
  // An f32 above the largest bf16 rounds as if the next one were 2^128.
  const next = decodeBf16(up);
  const above = Math.abs(
    (Number.isFinite(next) ? next : Math.sign(x) * 2 ** 128) - x,
  );
  if (below !== above) return below < above ? down : up;
  return down % 2 === 0 ? down : up;
}

export function decodeBf16(word: number): number {
  return fromF32Bits((word << 16) >>> 0);
}

export type AdamWState = { p: number; m: number; v: number };

/** PyTorch's AdamW for one parameter, in f64. */
export function adamW(
  { p, m, v }: AdamWState,
  gradient: number,
  o: {
    updates: number;
    learningRate: number;
    beta1: number;
    beta2: number;
    epsilon: number;
    weightDecay: number;
    gradientScale: number;
  },
): AdamWState {
  const g = gradient * o.gradientScale;
  m = o.beta1 * m + (1 - o.beta1) * g;
  v = o.beta2 * v + (1 - o.beta2) * g * g;
  const meanM = m / (1 - o.beta1 ** o.updates);
  const meanV = v / (1 - o.beta2 ** o.updates);
  p = p * (1 - o.learningRate * o.weightDecay);
  return {
    p: p - (o.learningRate * meanM) / (Math.sqrt(meanV) + o.epsilon),
    m,
    v,
  };
}
