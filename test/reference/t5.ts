/** The forward pass of T5 in f64, from its definition: RMS norms, relative positions, an encoder that a decoder looks at. */

export type T5Config = {
  d_model: number;
  d_kv: number;
  num_heads: number;
  num_layers: number;
  num_decoder_layers: number;
  relative_attention_num_buckets: number;
  relative_attention_max_distance: number;
  layer_norm_epsilon: number;
};

type Weights = (name: string) => ArrayLike<number>;
type Rows = Float64Array[];

/** Logits f64 [decoded][vocabulary] of a model whose head is tied to its table of tokens. */
export function t5Logits(
  config: T5Config,
  weights: Weights,
  encoded: ArrayLike<number>,
  decoded: ArrayLike<number>,
): Rows {
  const { d_model: width, layer_norm_epsilon: epsilon } = config;
  const table = weights("shared.weight");
  const embedded = (tokens: ArrayLike<number>): Rows =>
    Array.from(tokens, (token) =>
      Float64Array.from({ length: width }, (_, i) => table[token * width + i]!),
    );
  const norm = (x: Rows, name: string): Rows =>
    x.map((row) => {
      const weight = weights(name);
      const mean = row.reduce((sum, value) => sum + value * value, 0) / width;
      return row.map(
        (value, i) => (value / Math.sqrt(mean + epsilon)) * weight[i]!,
      );
    });
  const stack = (
    name: "encoder" | "decoder",
    start: Rows,
    memory?: Rows,
  ): Rows => {
    let x = start;
    const layers =
      name === "encoder" ? config.num_layers : config.num_decoder_layers;
    for (let i = 0; i < layers; i++) {
      const own = `${name}.block.${i}.layer`;
      const bias = weights(
        `${name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`,
      );
      const self = norm(x, `${own}.0.layer_norm.weight`);
      x = plus(x, attention(`${own}.0.SelfAttention`, self, self, name, bias));
      if (memory) {
        const asked = norm(x, `${own}.1.layer_norm.weight`);
        x = plus(x, attention(`${own}.1.EncDecAttention`, asked, memory));
      }
      const last = `${own}.${memory ? 2 : 1}`;
      const inner = linear(
        norm(x, `${last}.layer_norm.weight`),
        weights(`${last}.DenseReluDense.wi.weight`),
      ).map((row) => row.map((value) => Math.max(0, value)));
      x = plus(x, linear(inner, weights(`${last}.DenseReluDense.wo.weight`)));
    }
    return norm(x, `${name}.final_layer_norm.weight`);
  };
  const attention = (
    name: string,
    queries: Rows,
    keys: Rows,
    mask?: "encoder" | "decoder",
    bias?: ArrayLike<number>,
  ): Rows => {
    const { d_kv: length, num_heads: heads } = config;
    const [q, k, v] = (["q", "k", "v"] as const).map((part) =>
      linear(part === "q" ? queries : keys, weights(`${name}.${part}.weight`)),
    ) as [Rows, Rows, Rows];
    const mixed = q.map((row, at) => {
      const out = new Float64Array(heads * length);
      for (let head = 0; head < heads; head++) {
        const from = head * length;
        const scores = k.map((key, to) => {
          if (mask === "decoder" && to > at) return -Infinity;
          let sum = bias
            ? bias[bucket(to - at, mask === "encoder", config) * heads + head]!
            : 0;
          for (let i = from; i < from + length; i++) sum += row[i]! * key[i]!;
          return sum;
        });
        const most = Math.max(...scores);
        const shares = scores.map((score) => Math.exp(score - most));
        const total = shares.reduce((a, b) => a + b, 0);
        v.forEach((value, to) => {
          for (let i = from; i < from + length; i++)
            out[i]! += (shares[to]! / total) * value[i]!;
        });
      }
      return out;
    });
    return linear(mixed, weights(`${name}.o.weight`));
  };
  const memory = stack("encoder", embedded(encoded));
  const states = stack("decoder", embedded(decoded), memory).map((row) =>
    row.map((value) => value / Math.sqrt(width)),
  );
  return linear(states, table);
}

/** Which distances share a bias: half of the buckets one by one, the others ever wider. */
function bucket(
  distance: number,
  bothWays: boolean,
  {
    relative_attention_num_buckets: all,
    relative_attention_max_distance: most,
  }: T5Config,
): number {
  const buckets = bothWays ? all / 2 : all;
  const first = bothWays && distance > 0 ? buckets : 0;
  const n = bothWays ? Math.abs(distance) : Math.max(0, -distance);
  const exact = buckets / 2;
  if (n < exact) return first + n;
  const share = Math.log(n / exact) / Math.log(most / exact);
  return (
    first + Math.min(buckets - 1, exact + Math.floor(share * (buckets - exact)))
  );
}

/** x [n, in] · weight [out, in]ᵀ */
function linear(x: Rows, weight: ArrayLike<number>): Rows {
  const ins = x[0]!.length;
  const outs = weight.length / ins;
  return x.map((row) =>
    Float64Array.from({ length: outs }, (_, o) => {
      let sum = 0;
      for (let i = 0; i < ins; i++) sum += row[i]! * weight[o * ins + i]!;
      return sum;
    }),
  );
}

function plus(a: Rows, b: Rows): Rows {
  return a.map((row, i) => row.map((value, j) => value + b[i]![j]!));
}
