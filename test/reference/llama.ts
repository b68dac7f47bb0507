/**
 * The forward pass of Llama and its kin in f64, from their definitions: RMS norms, rotary positions, grouped queries,
 * gated layers; experts, Qwen's norms of heads, Gemma's norms around layers, caps and windows.
 */

export type LlamaConfig = {
  model_type?: string;
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  rms_norm_eps: number;
  rope_parameters: Rope | { full_attention: Rope; sliding_attention: Rope };
  num_experts_per_tok?: number;
  norm_topk_prob?: boolean;
  layer_types?: readonly string[];
  sliding_window?: number | null;
  use_sliding_window?: boolean;
  max_window_layers?: number;
  attn_logit_softcapping?: number | null;
  final_logit_softcapping?: number | null;
};

type Rope = {
  rope_theta: number;
  rope_type?: string;
  factor?: number;
  low_freq_factor?: number;
  high_freq_factor?: number;
  original_max_position_embeddings?: number;
  mscale?: number;
  mscale_all_dim?: number;
  beta_fast?: number;
  beta_slow?: number;
  truncate?: boolean;
  attention_factor?: number;
  short_factor?: readonly number[];
  long_factor?: readonly number[];
  /** Of a head's channels. */
  partial_rotary_factor?: number;
};

/** A tensor by its name; of biases and the like those that there are. */
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
  const isGemma = config.model_type?.startsWith("gemma") === true;
  const tensor = (name: string) => separate(name)!;
  const separate = (name: string) =>
    weights(name) ?? partOfFused(config, weights, name);
  const table = tensor("model.embed_tokens.weight");
  const scale = isGemma ? Math.sqrt(width) : 1;
  let stream: Rows = Array.from(tokens, (token) =>
    Float64Array.from(
      { length: width },
      (_, i) => table[token * width + i]! * scale,
    ),
  );
  const norm = (x: Float64Array, name: string) => {
    const weight = tensor(name);
    const offset = isGemma ? 1 : 0;
    return rmsNorm(x, weight, config.rms_norm_eps, offset);
  };
  const normed = (x: Rows, name: string) => x.map((row) => norm(row, name));
  for (let layer = 0; layer < layers; layer++) {
    const own = (name: string) => `model.layers.${layer}.${name}`;
    const linear = (x: Rows, name: string) => {
      const bias = weights(own(`${name}.bias`));
      const y = product(x, tensor(own(`${name}.weight`)));
      return bias ? y.map((row) => row.map((v, i) => v + bias[i]!)) : y;
    };
    const gated = (x: Rows, [gate, up, down]: readonly string[]) => {
      const above = linear(x, up!);
      const inner = linear(x, gate!).map((row, t) =>
        row.map((g, i) => (isGemma ? gelu(g) : silu(g)) * above[t]![i]!),
      );
      return linear(inner, down!);
    };
    const headsNormed = (x: Rows, name: string) =>
      weights(own(`${name}.weight`)) === undefined
        ? x
        : x.map((row) =>
            eachHead(row, config.head_dim, (head) =>
              norm(head, own(`${name}.weight`)),
            ),
          );
    /** Gemma 2 and 3 have a norm behind each part, too. */
    const around =
      weights(own("pre_feedforward_layernorm.weight")) !== undefined;
    const x = normed(stream, own("input_layernorm.weight"));
    const mixed = linear(
      attention(
        config,
        layer,
        headsNormed(linear(x, "self_attn.q_proj"), "self_attn.q_norm"),
        headsNormed(linear(x, "self_attn.k_proj"), "self_attn.k_norm"),
        linear(x, "self_attn.v_proj"),
      ),
      "self_attn.o_proj",
    );
    const behind = own("post_attention_layernorm.weight");
    stream = sum(stream, around ? normed(mixed, behind) : mixed);
    const ahead = around ? own("pre_feedforward_layernorm.weight") : behind;
    const y = normed(stream, ahead);
    const out = feedForward(config, y, weights, layer, linear, gated);
    stream = sum(
      stream,
      around ? normed(out, own("post_feedforward_layernorm.weight")) : out,
    );
  }
  const head = weights("lm_head.weight") ?? table;
  const logits = product(normed(stream, "model.norm.weight"), head);
  const cap = config.final_logit_softcapping;
  return cap
    ? logits.map((row) => row.map((x) => cap * Math.tanh(x / cap)))
    : logits;
}

/** One gated layer; or of experts the likeliest, by their shares, and one that all share. */
function feedForward(
  config: LlamaConfig,
  x: Rows,
  weights: Weights,
  layer: number,
  linear: (x: Rows, name: string) => Rows,
  gated: (x: Rows, names: readonly string[]) => Rows,
): Rows {
  const [isMixtral, isQwen] = ["block_sparse_moe.gate", "mlp.gate"].map(
    (name) => weights(`model.layers.${layer}.${name}.weight`) !== undefined,
  );
  const three = (path: string, names = ["gate_proj", "up_proj", "down_proj"]) =>
    names.map((name) => `${path}.${name}`);
  if (!isMixtral && !isQwen) return gated(x, three("mlp"));
  const path = isMixtral ? "block_sparse_moe" : "mlp";
  const scores = linear(x, `${path}.gate`);
  const shared = "mlp.shared_expert";
  const common =
    weights(`model.layers.${layer}.${shared}_gate.weight`) &&
    gated(x, three(shared)).map((row, t) => {
      const [open] = linear([x[t]!], `${shared}_gate`)[0]!;
      return row.map((v) => v / (1 + Math.exp(-open!)));
    });
  return x.map((row, t) => {
    const shares = softmax(scores[t]!);
    const taken = Array.from(shares.keys())
      .toSorted((a, b) => shares[b]! - shares[a]!)
      .slice(0, config.num_experts_per_tok);
    const total = taken.reduce((all, e) => all + shares[e]!, 0);
    const divisor = isMixtral || config.norm_topk_prob ? total : 1;
    const out = new Float64Array(row.length);
    for (const expert of taken) {
      const names = isMixtral ? ["w1", "w3", "w2"] : undefined;
      const [y] = gated([row], three(`${path}.experts.${expert}`, names));
      for (let i = 0; i < out.length; i++)
        out[i] = out[i]! + (y![i]! * shares[expert]!) / divisor;
    }
    return common ? out.map((v, i) => v + common[t]![i]!) : out;
  });
}

/** Phi-3 has q, k and v in one matrix, the rows of one above those of the next, and gate above up. */
function partOfFused(
  { hidden_size: width, head_dim: length, ...config }: LlamaConfig,
  weights: Weights,
  name: string,
): ArrayLike<number> | undefined {
  const [, before, part] =
    /^(.*)(q_proj|k_proj|v_proj|gate_proj|up_proj)\.weight$/.exec(name) ?? [];
  if (part === undefined) return undefined;
  const isMlp = before!.endsWith("mlp.");
  const whole = weights(`${before}${isMlp ? "gate_up" : "qkv"}_proj.weight`);
  if (!whole) return undefined;
  const [queries, keys] = [
    config.num_attention_heads * length,
    config.num_key_value_heads * length,
  ];
  const half = whole.length / width / 2;
  const [from, rows] = {
    q_proj: [0, queries],
    k_proj: [queries, keys],
    v_proj: [queries + keys, keys],
    gate_proj: [0, half],
    up_proj: [half, half],
  }[part] as [number, number];
  return Array.from(whole).slice(from * width, (from + rows) * width);
}

function rmsNorm(
  x: Float64Array,
  weight: ArrayLike<number>,
  epsilon: number,
  offset: number,
) {
  const mean = x.reduce((total, value) => total + value * value, 0) / x.length;
  return x.map(
    (v, i) => (v / Math.sqrt(mean + epsilon)) * (weight[i]! + offset),
  );
}

function eachHead(
  row: Float64Array,
  length: number,
  use: (head: Float64Array) => Float64Array,
): Float64Array {
  const out = new Float64Array(row.length);
  for (let at = 0; at < row.length; at += length)
    out.set(use(row.subarray(at, at + length)), at);
  return out;
}

const silu = (x: number) => x / (1 + Math.exp(-x));
const gelu = (x: number) =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

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

function attention(
  config: LlamaConfig,
  layer: number,
  q: Rows,
  k: Rows,
  v: Rows,
): Rows {
  const { num_attention_heads: heads, head_dim: length } = config;
  const shared = heads / config.num_key_value_heads;
  const isSliding = slides(config, layer);
  const window = isSliding ? config.sliding_window! : Infinity;
  const ropes = config.rope_parameters;
  const rope =
    "full_attention" in ropes
      ? ropes[isSliding ? "sliding_attention" : "full_attention"]
      : ropes;
  const cap = config.attn_logit_softcapping;
  const part = (x: Rows, head: number) =>
    x.map((row) => row.subarray(head * length, (head + 1) * length));
  const out = q.map(() => new Float64Array(heads * length));
  for (let head = 0; head < heads; head++) {
    const from = Math.floor(head / shared);
    const queries = part(q, head).map((row, t) => turned(row, t, rope));
    const keys = part(k, from).map((row, t) => turned(row, t, rope));
    const values = part(v, from);
    for (const [t, query] of queries.entries()) {
      const first = Math.max(0, t + 1 - window);
      const scores = keys.slice(first, t + 1).map((key) => {
        const score = dot(query, key) / Math.sqrt(length);
        return cap ? cap * Math.tanh(score / cap) : score;
      });
      const weights = softmax(Float64Array.from(scores));
      for (let i = 0; i < length; i++) {
        out[t]![head * length + i] = weights.reduce(
          (mixed, weight, s) => mixed + weight * values[first + s]![i]!,
          0,
        );
      }
    }
  }
  return out;
}

/** Mistral's and Phi-3's layers have the window that is told; Qwen's those that are listed, or the upper ones. */
function slides(config: LlamaConfig, layer: number): boolean {
  const { model_type: type, layer_types: types } = config;
  const isTold = typeof config.sliding_window === "number";
  if (type === "mistral" || type === "phi3") return isTold;
  if (types) return types[layer] === "sliding_attention";
  return (
    config.use_sliding_window === true && layer >= config.max_window_layers!
  );
}

function softmax(scores: Float64Array): Float64Array {
  const top = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - top));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / total);
}

/**
 * Rotary position: of the channels that turn, the first ones, i and i + half are a pair. YaRN and longrope make queries and
 * keys larger, too. Texts are no longer than the context that was trained on, so longrope has its short factors.
 */
function turned(x: Float64Array, position: number, rope: Rope) {
  const turning = Math.floor(x.length * (rope.partial_rotary_factor ?? 1));
  const half = turning / 2;
  const gain = gainOf(rope);
  return x.map((value, i) => {
    if (i >= turning) return value;
    const angle = position * frequency(rope, i % half, half);
    const partner = i < half ? -x[i + half]! : x[i - half]!;
    return gain * (value * Math.cos(angle) + partner * Math.sin(angle));
  });
}

function gainOf(rope: Rope): number {
  if (rope.rope_type === "yarn") return yarnGain(rope);
  if (rope.rope_type !== "longrope") return 1;
  const { factor, original_max_position_embeddings: original } = rope;
  // Ding et al., arXiv 2402.13753, unless told.
  const gain = () => Math.sqrt(1 + Math.log(factor!) / Math.log(original!));
  return rope.attention_factor ?? gain();
}

/** What yarn makes queries and keys longer by (Peng et al., arXiv 2309.00071, §3.4), or what is told instead. */
function yarnGain({ factor, attention_factor: told, ...rope }: Rope): number {
  const size = (by: number) => 0.1 * by * Math.log(factor!) + 1;
  const { mscale: own, mscale_all_dim: all } = rope;
  return told ?? (own && all ? size(own) / size(all) : size(1));
}

/** Of a pair. What turns often in the context that was trained on stays, what turns seldom slows down. */
function frequency(rope: Rope, pair: number, pairs: number): number {
  const plain = rope.rope_theta ** (-pair / pairs);
  const clamped = (share: number) => Math.min(1, Math.max(0, share));
  const mixed = (share: number) => plain * (share + (1 - share) / rope.factor!);
  const context = rope.original_max_position_embeddings!;
  switch (rope.rope_type) {
    case "linear":
      return mixed(0);
    case "longrope":
      return plain / rope.short_factor![pair]!;
    case "llama3": {
      const turns = (context * plain) / (2 * Math.PI);
      const [low, high] = [rope.low_freq_factor!, rope.high_freq_factor!];
      return mixed(clamped((turns - low) / (high - low)));
    }
    case "yarn": {
      // The pair that would turn so often: rope_theta^(pair / pairs) = context / (2 π turns).
      const pairOf = (turns: number) =>
        pairs *
        (Math.log(context / (2 * Math.PI * turns)) / Math.log(rope.rope_theta));
      const round = rope.truncate !== false;
      const [from, to] = [
        pairOf(rope.beta_fast ?? 32),
        pairOf(rope.beta_slow ?? 1),
      ];
      const first = Math.max(0, round ? Math.floor(from) : from);
      const last = Math.min(2 * pairs - 1, round ? Math.ceil(to) : to);
      const width = last === first ? 0.001 : last - first;
      return mixed(1 - clamped((pair - first) / width));
    }
    case undefined:
    default:
      return plain;
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((total, value, i) => total + value * b[i]!, 0);
}
