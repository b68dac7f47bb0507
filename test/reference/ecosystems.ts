/**
 * How others quantize a block of 32 to MXFP4, each written as its source says it (docs/compatibility.md
 * has the sources): scale byte and codes, in f32 arithmetic. Nothing is shared with the kernels or
 * their twins.
 */
export type Block = { scale: number; codes: number[] };
export type Ecosystem = (block: Float32Array) => Block;

const f32 = Math.fround;

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

function isNegative(value: number): boolean {
  return bitsOf(value) >>> 31 === 1;
}

function largest(block: Float32Array): number {
  return Math.max(...Array.from(block, Math.abs));
}

function hasNonFinite(block: Float32Array): boolean {
  return block.some((value) => !Number.isFinite(value));
}

/** floor(log2(x)) by repeated halving, exact. */
function floorLog2(x: number): number {
  let exponent = 0;
  for (; x >= 2; x /= 2) exponent++;
  for (; x < 1; x *= 2) exponent--;
  return exponent;
}

function ceilLog2(x: number): number {
  const floor = floorLog2(x);
  return 2 ** floor === x ? floor : floor + 1;
}

/** Thresholds between codes; a tie goes to `up` where it says so. */
function codeBy(v: number, up: readonly boolean[]): number {
  const middles = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5];
  let code = 0;
  middles.forEach((middle, i) => {
    if (v > middle || (v === middle && up[i])) code = i + 1;
  });
  return code;
}

/** 0.25 → 0, 0.75 → 1, 1.25 → 1, 1.75 → 2, 2.5 → 2, 3.5 → 4, 5 → 4 */
const TIES_EVEN = [false, true, false, true, false, true, false];
const TIES_AWAY = [true, true, true, true, true, true, true];

function encode(
  block: Float32Array,
  exponent: number,
  up: readonly boolean[],
): Block {
  const scale = Math.max(exponent, -127);
  return {
    scale: scale + 127,
    codes: Array.from(
      block,
      (x) => codeBy(Math.abs(x) / 2 ** scale, up) + (isNegative(x) ? 8 : 0),
    ),
  };
}

const NAN_BLOCK: Block = { scale: 255, codes: Array(32).fill(0) as number[] };

/** OCP MX v1.0 §6.3. The zero block, non-finite values and the clamp below 2^−127 are open there. */
export const ocp: Ecosystem = (block) =>
  encode(block, floorLog2(largest(block)) - 2, TIES_EVEN);

/** microxcaling 7bc41952, CUDA path: a zero block has the least scale, non-finite values NaN. */
export const microxcaling =
  (rounding: "nearest" | "even"): Ecosystem =>
  (block) => {
    if (hasNonFinite(block)) return NAN_BLOCK;
    const top = largest(block);
    const exponent = top === 0 ? -127 : floorLog2(top) - 2;
    return encode(
      block,
      exponent,
      rounding === "nearest" ? TIES_AWAY : TIES_EVEN,
    );
  };

/** ggml's quantize_row_mxfp4_ref: of 16 doubled values the first nearest, in the table's order. */
export const ggml: Ecosystem = (block) => {
  const doubled = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
  const top = largest(block);
  const scale = top > 0 ? floorLog2(top) - 2 + 127 : 0;
  const d = f32(2 ** (scale - 128));
  const codes = Array.from(block, (x) => {
    let best = 0;
    let least = Math.abs(f32(doubled[0]! * d - x));
    for (let i = 1; i < 16; i++) {
      const error = Math.abs(f32(doubled[i]! * d - x));
      if (error < least) [best, least] = [i, error];
    }
    return best;
  });
  return { scale, codes };
};

/** triton_kernels' downcast, ROUND_UP: the bits of amax / 6 rounded up to a power of two. */
export const tritonRoundUp: Ecosystem = (block) => {
  const scaleBits = (bitsOf(f32(largest(block) / 6)) + 0x7fffff) & 0x7f800000;
  return triton(block, scaleBits);
};

/** The same, ROUND_DOWN: the exponent of amax, less that of 4. */
export const tritonRoundDown: Ecosystem = (block) =>
  triton(block, Math.max(0, (bitsOf(largest(block)) & 0x7f800000) - (2 << 23)));

function triton(block: Float32Array, scaleBits: number): Block {
  const scale = new Float32Array(Uint32Array.of(scaleBits).buffer)[0]!;
  const inverse = scale === 0 ? 0 : f32(1 / scale);
  return {
    scale: scaleBits >>> 23,
    codes: Array.from(block, (x) => {
      const code = codeBy(f32(Math.abs(x) * inverse), TIES_EVEN);
      return Math.min(code, 7) + (isNegative(x) ? 8 : 0);
    }),
  };
}

/** torchao's to_mx by scaling mode, on the bits of amax; its RCEIL in exact arithmetic. */
export const torchao =
  (mode: "FLOOR" | "RCEIL" | "CEIL" | "EVEN"): Ecosystem =>
  (block) => {
    if (hasNonFinite(block)) return NAN_BLOCK;
    const top = largest(block);
    let bits = bitsOf(top);
    if (mode === "EVEN") bits = (bits + (1 << 21)) & 0x7f800000;
    let exponent = (bits >>> 23) - 127 - 2;
    if (mode === "CEIL" && (bits & 0x7fffff) > 0) exponent++;
    if (mode === "RCEIL") exponent = top === 0 ? -127 : ceilLog2(top / 6);
    return encode(block, exponent, TIES_EVEN);
  };

/** compressed-tensors: round_to_power_2 of amax, less 2. */
export const compressedTensors: Ecosystem = (block) => {
  const top = largest(block);
  const floor = floorLog2(top);
  return encode(
    block,
    (top >= 1.75 * 2 ** floor ? floor + 1 : floor) - 2,
    TIES_EVEN,
  );
};

/** AMD's: EVEN, and never the byte 0, whose scale is subnormal. */
export const amd: Ecosystem = (block) => {
  const top = largest(block);
  if (top === 0) return encode(block, -126, TIES_EVEN);
  const floor = floorLog2(top);
  const exponent = (top / 2 ** floor >= 1.75 ? floor + 1 : floor) - 2;
  return encode(block, Math.max(exponent, -126), TIES_EVEN);
};

/** TetraJet: truncation-free, 2^ceil(log2(2 · amax / (6 − (−6)))). */
export const tetraJet: Ecosystem = (block) =>
  encode(block, ceilLog2((2 * largest(block)) / 12), TIES_EVEN);

/** The scale byte of a block that is rounded at random, and the codes that each element may have. */
export type Choices = { scale: number; codes: number[][] };

function choose(
  block: Float32Array,
  exponent: number,
  prescale: number,
): Choices {
  const scale = Math.max(exponent, -127);
  const grid = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const codes = Array.from(block, (x) => {
    const v = (prescale * Math.abs(x)) / 2 ** scale;
    const sign = isNegative(x) ? 8 : 0;
    const below = grid.findLastIndex((value) => value <= v);
    const isExact = grid[below] === v;
    return isExact ? [below + sign] : [below + sign, below + 1 + sign];
  });
  return { scale: scale + 127, codes };
}

/** Training LLMs with MXFP4, Algorithm 2: the scale of amax, then 3/4 of each element up or down. */
export function paper(block: Float32Array): Choices {
  if (hasNonFinite(block))
    return { scale: 255, codes: Array.from(block, () => [0]) };
  const top = largest(block);
  return choose(block, top === 0 ? -127 : floorLog2(top) - 2, 0.75);
}

/** TetraJet's stochastic rounding: nothing is above 6, so nothing is clamped. */
export function tetraJetStochastic(block: Float32Array): Choices {
  return choose(block, ceilLog2((2 * largest(block)) / 12), 1);
}
