/** Slow twins of the layers, in f64. Gradients are written from the definitions, not from the kernels. */

type Numbers = ArrayLike<number>;

const SLOPE = Math.sqrt(2 / Math.PI);

/** ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) */
export function gelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(SLOPE * (x + 0.044715 * x ** 3)));
}

export function geluSlope(x: number): number {
  const u = SLOPE * (x + 0.044715 * x ** 3);
  const uSlope = SLOPE * (1 + 3 * 0.044715 * x ** 2);
  // sech² underflows before u² overflows it.
  const bell = Math.abs(u) > 300 ? 0 : uSlope / Math.cosh(u) ** 2;
  return 0.5 * (1 + Math.tanh(u)) + 0.5 * x * bell;
}

/** Normalized rows (before weight and bias) and their moments. */
export function normalize(
  x: Numbers,
  rows: number,
  width: number,
): { normalized: Float64Array; mean: Float64Array; rstd: Float64Array } {
  const normalized = new Float64Array(rows * width);
  const mean = new Float64Array(rows);
  const rstd = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    const values = Array.from({ length: width }, (_, j) => x[row * width + j]);
    mean[row] = values.reduce((sum, value) => sum + value, 0) / width;
    const variance =
      values.reduce((sum, value) => sum + (value - mean[row]) ** 2, 0) / width;
    rstd[row] = 1 / Math.sqrt(variance + 1e-5);
    values.forEach((value, j) => {
      normalized[row * width + j] = (value - mean[row]) * rstd[row];
    });
  }
  return { normalized, mean, rstd };
}

export function layerNormForward(
  x: Numbers,
  weight: Numbers,
  bias: Numbers,
  rows: number,
  width: number,
): Float64Array {
  return normalize(x, rows, width).normalized.map(
    (n, at) => n * weight[at % width] + bias[at % width],
  );
}

export function layerNormBackward(
  dOut: Numbers,
  x: Numbers,
  weight: Numbers,
  rows: number,
  width: number,
): { dX: Float64Array; dWeight: Float64Array; dBias: Float64Array } {
  const { normalized, rstd } = normalize(x, rows, width);
  const dX = new Float64Array(rows * width);
  const dWeight = new Float64Array(width);
  const dBias = new Float64Array(width);
  for (let row = 0; row < rows; row++) {
    const at = (j: number) => row * width + j;
    let meanDn = 0;
    let meanDnN = 0;
    for (let j = 0; j < width; j++) {
      const dn = dOut[at(j)] * weight[j];
      meanDn += dn / width;
      meanDnN += (dn * normalized[at(j)]) / width;
      dWeight[j] += dOut[at(j)] * normalized[at(j)];
      dBias[j] += dOut[at(j)];
    }
    for (let j = 0; j < width; j++) {
      const dn = dOut[at(j)] * weight[j];
      dX[at(j)] = rstd[row] * (dn - meanDn - normalized[at(j)] * meanDnN);
    }
  }
  return { dX, dWeight, dBias };
}

/** x / √(mean(x²) + epsilon) of each row, and the factors. */
function rmsNormalize(
  x: Numbers,
  rows: number,
  width: number,
  epsilon: number,
) {
  const rstd = Float64Array.from({ length: rows }, (_, row) => {
    let squares = 0;
    for (let j = 0; j < width; j++) squares += x[row * width + j] ** 2;
    return 1 / Math.sqrt(squares / width + epsilon);
  });
  const normalized = Float64Array.from(
    { length: rows * width },
    (_, at) => x[at] * rstd[Math.floor(at / width)],
  );
  return { normalized, rstd };
}

export function rmsNormForward(
  x: Numbers,
  weight: Numbers,
  rows: number,
  width: number,
  epsilon: number,
): Float64Array {
  return rmsNormalize(x, rows, width, epsilon).normalized.map(
    (n, at) => n * weight[at % width],
  );
}

/** With n_j = x_j · r and r = (mean(x²) + ε)^−½:  ∂n_j / ∂x_i = r · (δ_ij − n_i · n_j / width). */
export function rmsNormBackward(
  dOut: Numbers,
  x: Numbers,
  weight: Numbers,
  rows: number,
  width: number,
  epsilon: number,
): { dX: Float64Array; dWeight: Float64Array } {
  const { normalized, rstd } = rmsNormalize(x, rows, width, epsilon);
  const dX = new Float64Array(rows * width);
  const dWeight = new Float64Array(width);
  for (let at = 0; at < dX.length; at++) {
    const row = Math.floor(at / width);
    dWeight[at % width] += dOut[at] * normalized[at];
    for (let j = 0; j < width; j++) {
      const other = row * width + j;
      const same = other === at ? 1 : 0;
      const slope = same - (normalized[at] * normalized[other]) / width;
      dX[at] += dOut[other] * weight[j] * rstd[row] * slope;
    }
  }
  return { dX, dWeight };
}

/** gate · σ(gate) · up */
export function swiglu(gate: number, up: number): number {
  return (gate / (1 + Math.exp(-gate))) * up;
}

/** d/dx of x · σ(x) */
export function siluSlope(x: number): number {
  const s = 1 / (1 + Math.exp(-x));
  return s + x * s * (1 / (1 + Math.exp(x)));
}

/** A head's channels at a position, turned: i and i + length / 2 are a pair. */
export function turned(
  x: Numbers,
  position: number,
  base: number,
): Float64Array {
  const half = x.length / 2;
  const angle = (i: number) => position * base ** -(i / half);
  return Float64Array.from({ length: x.length }, (_, i) =>
    i < half
      ? x[i] * Math.cos(angle(i)) - x[i + half] * Math.sin(angle(i))
      : x[i] * Math.cos(angle(i - half)) +
        x[i - half] * Math.sin(angle(i - half)),
  );
}

/** Sizes of an attention: B, T, heads, groups of them that share keys and values, hd. */
export type AttentionShape = {
  sequences: number;
  length: number;
  heads: number;
  groups: number;
  headWidth: number;
};

/** Calls `body` for each query row of each head with its causal probabilities. */
function eachQuery(
  qkv: Numbers,
  { sequences, length, heads, groups, headWidth }: AttentionShape,
  body: (query: {
    probabilities: number[];
    logSumExp: number;
    /** Index of the row in [B, heads, T]. */
    row: number;
    /** Index in qkv of element c of q, k or v (part 0, 1, 2) at time t. */
    at: (part: number, t: number, c: number) => number;
    /** Index in [B, T, C] of the query's element c. */
    outAt: (c: number) => number;
    time: number;
  }) => void,
): void {
  const width = heads * headWidth;
  const stride = (heads + 2 * groups) * headWidth;
  for (let b = 0; b < sequences; b++) {
    for (let h = 0; h < heads; h++) {
      const group = Math.floor((h * groups) / heads);
      // In heads: queries, then keys, then values.
      const places = [h, heads + group, heads + groups + group];
      const at = (part: number, t: number, c: number) =>
        (b * length + t) * stride + places[part] * headWidth + c;
      for (let time = 0; time < length; time++) {
        const scores = Array.from({ length: time + 1 }, (_, key) => {
          let dot = 0;
          for (let c = 0; c < headWidth; c++) {
            dot += qkv[at(0, time, c)] * qkv[at(1, key, c)];
          }
          return dot / Math.sqrt(headWidth);
        });
        const logSumExp = logSumExpOf(scores);
        body({
          probabilities: scores.map((score) => Math.exp(score - logSumExp)),
          logSumExp,
          row: (b * heads + h) * length + time,
          at,
          outAt: (c) => (b * length + time) * width + h * headWidth + c,
          time,
        });
      }
    }
  }
}

export function attentionForward(
  qkv: Numbers,
  shape: AttentionShape,
): { out: Float64Array; logSumExp: Float64Array } {
  const { sequences, length, heads, headWidth } = shape;
  const out = new Float64Array(sequences * length * heads * headWidth);
  const totals = new Float64Array(sequences * heads * length);
  eachQuery(qkv, shape, ({ probabilities, logSumExp, row, at, outAt }) => {
    totals[row] = logSumExp;
    for (let c = 0; c < headWidth; c++) {
      probabilities.forEach((p, key) => {
        out[outAt(c)] += p * qkv[at(2, key, c)];
      });
    }
  });
  return { out, logSumExp: totals };
}

export function attentionBackward(
  dOut: Numbers,
  qkv: Numbers,
  shape: AttentionShape,
): Float64Array {
  const { headWidth } = shape;
  const dQkv = new Float64Array(qkv.length);
  eachQuery(qkv, shape, ({ probabilities, at, outAt, time }) => {
    const dProbabilities = probabilities.map((p, key) => {
      let dP = 0;
      for (let c = 0; c < headWidth; c++) {
        dP += dOut[outAt(c)] * qkv[at(2, key, c)];
        dQkv[at(2, key, c)] += p * dOut[outAt(c)];
      }
      return dP;
    });
    const mean = probabilities.reduce(
      (sum, p, key) => sum + p * dProbabilities[key],
      0,
    );
    probabilities.forEach((p, key) => {
      const dScore = (p * (dProbabilities[key] - mean)) / Math.sqrt(headWidth);
      for (let c = 0; c < headWidth; c++) {
        dQkv[at(0, time, c)] += dScore * qkv[at(1, key, c)];
        dQkv[at(1, key, c)] += dScore * qkv[at(0, time, c)];
      }
    });
  });
  return dQkv;
}

function logSumExpOf(x: readonly number[]): number {
  const largest = x.reduce((a, b) => Math.max(a, b), -Infinity);
  return (
    largest +
    Math.log(x.reduce((sum, value) => sum + Math.exp(value - largest), 0))
  );
}

export function softmaxCrossEntropy(
  logits: Numbers,
  targets: Numbers,
  vocabulary: number,
): { lossSum: number; dLogits: Float64Array } {
  const dLogits = new Float64Array(logits.length);
  let lossSum = 0;
  for (let row = 0; row < targets.length; row++) {
    if (targets[row] < 0) continue;
    const values = Array.from(
      { length: vocabulary },
      (_, j) => logits[row * vocabulary + j],
    );
    const total = logSumExpOf(values);
    lossSum += total - values[targets[row]];
    values.forEach((value, j) => {
      dLogits[row * vocabulary + j] =
        Math.exp(value - total) - Number(j === targets[row]);
    });
  }
  return { lossSum, dLogits };
}
