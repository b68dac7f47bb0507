/** Llama's forward pass in f64, from its definition: RMS norms, rotary positions, grouped queries, SwiGLU. */

export type LlamaConfig = {
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  rms_norm_eps: number;
  rope_parameters: { rope_theta: number };
};

/** A tensor by its name; of biases those that there are. */
type Weights = (name: string) => ArrayLike<number> | undefined;
/** Positions × channels. */
type Rows = Float64Array[];

/** Logits f64 [tokens][vocabulary] of one sequence. */
export function llamaLogits(
  config: LlamaConfig,
  weights: Weights,
  tokens: ArrayLike<number>,
): Rows {
  const { hidden_size: width, num_hidden_layers: layers } = config;
  const tensor = (name: string) => weights(name)!;
  const table = tensor("model.embed_tokens.weight");
  let stream: Rows = Array.from(tokens, (token) =>
    Float64Array.from({ length: width }, (_, i) => table[token * width + i]!),
  );
  const normed = (name: string) => {
    const weight = tensor(name);
    return stream.map((x) => rmsNorm(x, weight, config.rms_norm_eps));
  };
  for (let layer = 0; layer < layers; layer++) {
    const own = (name: string) => `model.layers.${layer}.${name}.weight`;
    const linear = (x: Rows, name: string) => {
      const bias = weights(`model.layers.${layer}.${name}.bias`);
      const y = product(x, tensor(own(name)));
      return bias ? y.map((row) => row.map((v, i) => v + bias[i]!)) : y;
    };
    const x = normed(own("input_layernorm"));
    const mixed = attention(
      config,
      linear(x, "self_attn.q_proj"),
      linear(x, "self_attn.k_proj"),
      linear(x, "self_attn.v_proj"),
    );
    stream = sum(stream, linear(mixed, "self_attn.o_proj"));
    const y = normed(own("post_attention_layernorm"));
    const up = linear(y, "mlp.up_proj");
    const gated = linear(y, "mlp.gate_proj").map((row, t) =>
      row.map((g, i) => (g / (1 + Math.exp(-g))) * up[t]![i]!),
    );
    stream = sum(stream, linear(gated, "mlp.down_proj"));
  }
  return product(normed("model.norm.weight"), tensor("lm_head.weight"));
}

function rmsNorm(x: Float64Array, weight: ArrayLike<number>, epsilon: number) {
  const mean = x.reduce((total, value) => total + value * value, 0) / x.length;
  return x.map((v, i) => (v / Math.sqrt(mean + epsilon)) * weight[i]!);
}

/** x · Wᵀ, W [out, in]. */
function product(x: Rows, weight: ArrayLike<number>): Rows {
  const inFeatures = x[0]!.length;
  const outFeatures = weight.length / inFeatures;
  return x.map((row) =>
    Float64Array.from({ length: outFeatures }, (_, o) =>
      row.reduce((total, v, i) => total + v * weight[o * inFeatures + i]!, 0),
    ),
  );
}

function sum(a: Rows, b: Rows): Rows {
  return a.map((row, t) => row.map((value, i) => value + b[t]![i]!));
}

function attention(config: LlamaConfig, q: Rows, k: Rows, v: Rows): Rows {
  const { num_attention_heads: heads, head_dim: length } = config;
  const shared = heads / config.num_key_value_heads;
  const theta = config.rope_parameters.rope_theta;
  const part = (x: Rows, head: number) =>
    x.map((row) => row.subarray(head * length, (head + 1) * length));
  const out = q.map(() => new Float64Array(heads * length));
  for (let head = 0; head < heads; head++) {
    const from = Math.floor(head / shared);
    const queries = part(q, head).map((row, t) => turned(row, t, theta));
    const keys = part(k, from).map((row, t) => turned(row, t, theta));
    const values = part(v, from);
    for (const [t, query] of queries.entries()) {
      const scores = keys
        .slice(0, t + 1)
        .map((key) => dot(query, key) / Math.sqrt(length));
      const top = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - top));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let i = 0; i < length; i++) {
        out[t]![head * length + i] = weights.reduce(
          (mixed, weight, s) => mixed + (weight / total) * values[s]![i]!,
          0,
        );
      }
    }
  }
  return out;
}

/** Rotary position: channels i and i + length / 2 are a pair. */
function turned(x: Float64Array, position: number, theta: number) {
  const half = x.length / 2;
  return x.map((value, i) => {
    const angle = position * theta ** (-(i % half) / half);
    const partner = i < half ? -x[i + half]! : x[i - half]!;
    return value * Math.cos(angle) + partner * Math.sin(angle);
  });
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((total, value, i) => total + value * b[i]!, 0);
}
