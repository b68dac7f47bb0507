/** Mamba's forward pass in f64, from its definition. */

type Weights = (name: string) => ArrayLike<number> | undefined;
type Rows = Float64Array[];

/** Logits of Mamba: a convolution over time, then a selective scan, gated. */
export function mambaLogits(
  config: {
    hidden_size: number;
    intermediate_size: number;
    num_hidden_layers: number;
    state_size: number;
    conv_kernel: number;
    time_step_rank: number;
    layer_norm_epsilon: number;
  },
  weights: Weights,
  tokens: ArrayLike<number>,
): Rows {
  const { hidden_size: width, intermediate_size: inner } = config;
  const {
    state_size: states,
    conv_kernel: taps,
    time_step_rank: rank,
  } = config;
  const table = weights("backbone.embeddings.weight")!;
  let stream = lookedUp(table, tokens, width);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const own = (name: string) =>
      weights(`backbone.layers.${layer}.mixer.${name}`)!;
    const norm = weights(`backbone.layers.${layer}.norm.weight`)!;
    const both = product(
      stream.map((row) => rmsNorm(row, norm, config.layer_norm_epsilon)),
      own("in_proj.weight"),
    );
    const x = both.map((_, t) =>
      Float64Array.from({ length: inner }, (_unused, i) => {
        let mixed = own("conv1d.bias")[i]!;
        for (let tap = 0; tap < taps; tap++) {
          const from = t - taps + 1 + tap;
          if (from >= 0)
            mixed += both[from]![i]! * own("conv1d.weight")[i * taps + tap]!;
        }
        return silu(mixed);
      }),
    );
    const state = new Float64Array(inner * states);
    const scanned = product(x, own("x_proj.weight")).map((chosen, t) => {
      const [step] = product([chosen.subarray(0, rank)], own("dt_proj.weight"));
      return Float64Array.from({ length: inner }, (_, i) => {
        const dt = Math.log1p(Math.exp(step![i]! + own("dt_proj.bias")[i]!));
        let y = own("D")[i]! * x[t]![i]!;
        for (let s = 0; s < states; s++) {
          const at = i * states + s;
          const decay = Math.exp(-dt * Math.exp(own("A_log")[at]!));
          state[at] = decay * state[at]! + dt * chosen[rank + s]! * x[t]![i]!;
          y += chosen[rank + states + s]! * state[at];
        }
        return y * silu(both[t]![inner + i]!);
      });
    });
    stream = sum(stream, product(scanned, own("out_proj.weight")));
  }
  const norm = weights("backbone.norm_f.weight")!;
  const last = stream.map((row) =>
    rmsNorm(row, norm, config.layer_norm_epsilon),
  );
  return product(last, weights("lm_head.weight") ?? table);
}

function lookedUp(
  table: ArrayLike<number>,
  tokens: ArrayLike<number>,
  width: number,
): Rows {
  return Array.from(tokens, (token) =>
    Float64Array.from({ length: width }, (_, i) => table[token * width + i]!),
  );
}

function rmsNorm(x: Float64Array, weight: ArrayLike<number>, epsilon: number) {
  const mean = x.reduce((total, value) => total + value * value, 0) / x.length;
  return x.map((v, i) => (v / Math.sqrt(mean + epsilon)) * weight[i]!);
}

const silu = (x: number) => x / (1 + Math.exp(-x));

/** x · Wᵀ, W [out, in]. */
function product(x: Rows, weight: ArrayLike<number>): Rows {
  const inFeatures = x[0]!.length;
  return x.map((row) =>
    Float64Array.from({ length: weight.length / inFeatures }, (_, o) =>
      row.reduce((total, v, i) => total + v * weight[o * inFeatures + i]!, 0),
    ),
  );
}

function sum(a: Rows, b: Rows): Rows {
  return a.map((row, t) => row.map((value, i) => value + b[t]![i]!));
}
