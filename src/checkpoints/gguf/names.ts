/**
 * llama.cpp's names of transformers' tensors, and their layout. Sources: its src/llama-arch.cpp and src/models/, and
 * gguf-py's tensor_mapping.py for transformers' names.
 */
import { headLength, type Hyperparameters } from "./hyperparameters.ts";

/** Selected output rows, in order. */
export type RowSelection =
  /** Of each `of` consecutive rows. */
  | { of: number; taken: readonly number[] }
  /** The first or second half of each matrix. */
  | { half: 0 | 1 };

/** `plus-one`: for norms to whose weights transformers adds one; `minus-exp`: −e^x. */
export type Change = "plus-one" | "minus-exp" | { times: number };

/** What a tensor of a checkpoint becomes. */
export type Destination = {
  /** The name of the tensor, or of its module; `#` is the layer's number. */
  to: string;
  /** Floats are stored as [in, out], or [E, in, out] for experts. */
  turned?: true;
  rows?: RowSelection;
  change?: Change;
  /** Drops dimensions of size 1. */
  squeezed?: true;
};

/**
 * By a tensor's name, or a module's for its weight and bias; `#` stands for numbers: the layer's and, for experts,
 * which are stacked, the expert's.
 */
export type Names = Readonly<
  Record<string, string | Destination | readonly Destination[]>
>;

const DECODER: Names = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
  "model.layers.#.input_layernorm": "blk.#.attn_norm",
  "model.layers.#.self_attn.q_proj": "blk.#.attn_q",
  "model.layers.#.self_attn.k_proj": "blk.#.attn_k",
  "model.layers.#.self_attn.v_proj": "blk.#.attn_v",
  "model.layers.#.self_attn.o_proj": "blk.#.attn_output",
  "model.layers.#.post_attention_layernorm": "blk.#.ffn_norm",
  "model.layers.#.mlp.gate_proj": "blk.#.ffn_gate",
  "model.layers.#.mlp.up_proj": "blk.#.ffn_up",
  "model.layers.#.mlp.down_proj": "blk.#.ffn_down",
};

const QK_NORMS: Names = {
  "model.layers.#.self_attn.q_norm": "blk.#.attn_q_norm",
  "model.layers.#.self_attn.k_norm": "blk.#.attn_k_norm",
};

/**
 * For Llama, llama.cpp rotates neighbouring channels of a head, transformers those half a head apart: rows are
 * interleaved.
 */
export function llamaNames(config: Hyperparameters): Names {
  const half = headLength(config) / 2;
  const taken = Array.from({ length: half }, (_, i) => [i, half + i]).flat();
  const rows = { of: 2 * half, taken };
  return {
    ...DECODER,
    "model.layers.#.self_attn.q_proj": { to: "blk.#.attn_q", rows },
    "model.layers.#.self_attn.k_proj": { to: "blk.#.attn_k", rows },
  };
}

export function mixtralNames(config: Hyperparameters): Names {
  return {
    ...llamaNames(config),
    "model.layers.#.block_sparse_moe.gate": "blk.#.ffn_gate_inp",
    "model.layers.#.block_sparse_moe.experts.#.w1": "blk.#.ffn_gate_exps",
    "model.layers.#.block_sparse_moe.experts.#.w2": "blk.#.ffn_down_exps",
    "model.layers.#.block_sparse_moe.experts.#.w3": "blk.#.ffn_up_exps",
    "model.layers.#.mlp.gate": "blk.#.ffn_gate_inp",
    ...STACKED,
  };
}

/** All experts in one tensor, gate before up. */
const STACKED: Names = {
  "model.layers.#.mlp.experts.gate_up_proj": [
    { to: "blk.#.ffn_gate_exps.weight", rows: { half: 0 } },
    { to: "blk.#.ffn_up_exps.weight", rows: { half: 1 } },
  ],
  "model.layers.#.mlp.experts.down_proj": "blk.#.ffn_down_exps.weight",
};

export const QWEN2: Names = DECODER;
export const QWEN3: Names = { ...DECODER, ...QK_NORMS };

const QWEN_EXPERTS: Names = {
  "model.layers.#.mlp.gate": "blk.#.ffn_gate_inp",
  "model.layers.#.mlp.experts.#.gate_proj": "blk.#.ffn_gate_exps",
  "model.layers.#.mlp.experts.#.up_proj": "blk.#.ffn_up_exps",
  "model.layers.#.mlp.experts.#.down_proj": "blk.#.ffn_down_exps",
  ...STACKED,
};
export const QWEN2_MOE: Names = {
  ...DECODER,
  ...QWEN_EXPERTS,
  "model.layers.#.mlp.shared_expert.gate_proj": "blk.#.ffn_gate_shexp",
  "model.layers.#.mlp.shared_expert.up_proj": "blk.#.ffn_up_shexp",
  "model.layers.#.mlp.shared_expert.down_proj": "blk.#.ffn_down_shexp",
  "model.layers.#.mlp.shared_expert_gate": {
    to: "blk.#.ffn_gate_inp_shexp",
    squeezed: true,
  },
};
export const QWEN3_MOE: Names = { ...QWEN3, ...QWEN_EXPERTS };

const plusOne = (to: string): Destination => ({ to, change: "plus-one" });

export const GEMMA: Names = {
  ...DECODER,
  "model.norm": plusOne("output_norm"),
  "model.layers.#.input_layernorm": plusOne("blk.#.attn_norm"),
  "model.layers.#.post_attention_layernorm": plusOne("blk.#.ffn_norm"),
};
export const GEMMA2: Names = {
  ...GEMMA,
  "model.layers.#.post_attention_layernorm": plusOne(
    "blk.#.post_attention_norm",
  ),
  "model.layers.#.pre_feedforward_layernorm": plusOne("blk.#.ffn_norm"),
  "model.layers.#.post_feedforward_layernorm": plusOne("blk.#.post_ffw_norm"),
};
export const GEMMA3: Names = {
  ...GEMMA2,
  "model.layers.#.self_attn.q_norm": plusOne("blk.#.attn_q_norm"),
  "model.layers.#.self_attn.k_norm": plusOne("blk.#.attn_k_norm"),
};

/** Even rows of `gate_up_proj` are the gate's. */
const EVEN: RowSelection = { of: 2, taken: [0] };
const ODD: RowSelection = { of: 2, taken: [1] };

export const GPT_OSS: Names = {
  ...DECODER,
  "model.layers.#.post_attention_layernorm": "blk.#.post_attention_norm",
  "model.layers.#.self_attn.sinks": "blk.#.attn_sinks.weight",
  "model.layers.#.mlp.router": "blk.#.ffn_gate_inp",
  "model.layers.#.mlp.experts.gate_up_proj": [
    { to: "blk.#.ffn_gate_exps.weight", turned: true, rows: EVEN },
    { to: "blk.#.ffn_up_exps.weight", turned: true, rows: ODD },
  ],
  "model.layers.#.mlp.experts.gate_up_proj_bias": [
    { to: "blk.#.ffn_gate_exps.bias", rows: EVEN },
    { to: "blk.#.ffn_up_exps.bias", rows: ODD },
  ],
  "model.layers.#.mlp.experts.down_proj": {
    to: "blk.#.ffn_down_exps.weight",
    turned: true,
  },
  "model.layers.#.mlp.experts.down_proj_bias": "blk.#.ffn_down_exps.bias",
};

/** A layer of transformers' class Conv1D. */
const conv1d = (to: string): Destination => ({ to, turned: true });

export const GPT2: Names = {
  wte: "token_embd",
  wpe: "position_embd",
  ln_f: "output_norm",
  lm_head: "output",
  "h.#.ln_1": "blk.#.attn_norm",
  "h.#.attn.c_attn": conv1d("blk.#.attn_qkv"),
  "h.#.attn.c_proj": conv1d("blk.#.attn_output"),
  "h.#.ln_2": "blk.#.ffn_norm",
  "h.#.mlp.c_fc": conv1d("blk.#.ffn_up"),
  "h.#.mlp.c_proj": conv1d("blk.#.ffn_down"),
};

export const MAMBA: Names = {
  "backbone.embeddings": "token_embd",
  "backbone.norm_f": "output_norm",
  lm_head: "output",
  "backbone.layers.#.norm": "blk.#.attn_norm",
  "backbone.layers.#.mixer.in_proj": "blk.#.ssm_in",
  "backbone.layers.#.mixer.conv1d": { to: "blk.#.ssm_conv1d", squeezed: true },
  "backbone.layers.#.mixer.x_proj": "blk.#.ssm_x",
  "backbone.layers.#.mixer.dt_proj": "blk.#.ssm_dt",
  "backbone.layers.#.mixer.A_log": { to: "blk.#.ssm_a", change: "minus-exp" },
  "backbone.layers.#.mixer.D": "blk.#.ssm_d",
  "backbone.layers.#.mixer.out_proj": "blk.#.ssm_out",
};

export const T5: Names = {
  shared: "token_embd",
  lm_head: "output",
  ...t5Stack("encoder", "enc", 1),
  ...t5Stack("decoder", "dec", 2),
  "decoder.block.#.layer.1.EncDecAttention.q": "dec.blk.#.cross_attn_q",
  "decoder.block.#.layer.1.EncDecAttention.k": "dec.blk.#.cross_attn_k",
  "decoder.block.#.layer.1.EncDecAttention.v": "dec.blk.#.cross_attn_v",
  "decoder.block.#.layer.1.EncDecAttention.o": "dec.blk.#.cross_attn_o",
  "decoder.block.#.layer.1.layer_norm": "dec.blk.#.cross_attn_norm",
};

/** `last`: the index of the block's feed-forward network. */
function t5Stack(theirs: string, own: string, last: number): Names {
  const from = `${theirs}.block.#.layer`;
  const to = `${own}.blk.#`;
  return {
    [`${theirs}.final_layer_norm`]: `${own}.output_norm`,
    [`${from}.0.layer_norm`]: `${to}.attn_norm`,
    [`${from}.0.SelfAttention.q`]: `${to}.attn_q`,
    [`${from}.0.SelfAttention.k`]: `${to}.attn_k`,
    [`${from}.0.SelfAttention.v`]: `${to}.attn_v`,
    [`${from}.0.SelfAttention.o`]: `${to}.attn_o`,
    [`${from}.0.SelfAttention.relative_attention_bias`]: `${to}.attn_rel_b`,
    [`${from}.${last}.layer_norm`]: `${to}.ffn_norm`,
    [`${from}.${last}.DenseReluDense.wi`]: `${to}.ffn_up`,
    [`${from}.${last}.DenseReluDense.wi_0`]: `${to}.ffn_gate`,
    [`${from}.${last}.DenseReluDense.wi_1`]: `${to}.ffn_up`,
    [`${from}.${last}.DenseReluDense.wo`]: `${to}.ffn_down`,
  };
}

/** A tensor's destinations; undefined if the model has no tensor of this name. */
export function destinationsOf(
  names: Names,
  name: string,
): { destinations: Destination[]; expert: number | undefined } | undefined {
  const found = lookUp(names, name);
  if (found === undefined) return undefined;
  const { entry, suffix, numbers } = found;
  const list =
    typeof entry === "string"
      ? [{ to: entry }]
      : "to" in entry
        ? [entry]
        : entry;
  const [layer, expert] = numbers;
  const destinations = list.map((each) => ({
    ...each,
    to: each.to.replace("#", `${layer}`) + suffix,
  }));
  return { destinations, expert };
}

/** The table's entry, the numbers matched by `#`, and the suffix after a module's name. */
function lookUp(
  names: Names,
  name: string,
): { entry: Names[string]; suffix: string; numbers: number[] } | undefined {
  // GPT-2's names may have the prefix `transformer.`.
  const parts = name.replace(/^transformer\./, "").split(".");
  const leaf = parts.at(-1)!;
  const ends = leaf === "weight" || leaf === "bias" ? [0, 1] : [0];
  for (const cut of ends) {
    const own = parts.slice(0, parts.length - cut);
    for (const places of placesOf(own)) {
      const key = own.map((part, i) => (places.includes(i) ? "#" : part));
      const entry = names[key.join(".")];
      if (entry === undefined) continue;
      const numbers = places.map((i) => Number(own[i]));
      return { entry, suffix: cut === 0 ? "" : `.${leaf}`, numbers };
    }
  }
  return undefined;
}

/** Which parts are numbers: all, or only the first, since T5's names contain fixed numbers. */
function placesOf(parts: readonly string[]): number[][] {
  const all = parts.flatMap((part, i) => (/^\d+$/.test(part) ? [i] : []));
  return all.length > 1 ? [all, all.slice(0, 1)] : [all];
}
