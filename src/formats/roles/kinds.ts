/**
 * The kinds of tensors that are not quantized, recognized by words in their names, their shapes and neighbours, never
 * by a model's name. Each kind has a reason in words.
 */
import type { TensorHead } from "../tensor.ts";
import type { Surroundings } from "./surroundings.ts";
import { type TensorName, partWords } from "./tensor-name.ts";

export type Candidate = {
  head: TensorHead;
  name: TensorName;
  around: Surroundings;
};

/** Words of modules that compute a matrix product, whatever else their names say. */
const PRODUCT =
  /^(proj|projs|projection|projections|projector|project|linear|lin|dense|fc|mlp|transform|transformation|modulation|mapping|ffn|qkv)$/;

/** Words of a table whose rows are looked up. */
const TABLE =
  /^(embed|embeds|embedding|embeddings|embedder|embd|emb|embs|wte|wpe|codebooks?|tokens?|positions?)$/;

/** Names of tables without such a word. */
const NAMED_TABLE =
  /^(shared|[wpv]te|pe_k|query_feat|queries_features|bias_values|reference_points|relative_attention_bias|embedder_?\d*)$/i;

const NORM = /(norm|norms)\d*$|^(ln|bn|gn)\d*$/;

/** Output heads, whatever their shape. (`k_head` and similar are attention projections.) */
const HEAD =
  /^(lm|codec|audio|text|image|vision|codebooks|token|bpe|char|wp|class|ctc|mtp|value|reward|rm)(_\w+)?_heads?$|^\w+_lm_head$|^(embed_out|unembed|score|classifier|qa_outputs|seq_relationship)$/;

/** Names of heads that other layers may have too: decided by a row for each vocabulary entry. */
const MAYBE_HEAD =
  /^(head|output|output_layer|output_projection|decoder|proj_out|ff_out|out|final|logits_dense|fc_out)$/;

/** Modules whose layer with a row for each vocabulary entry is a head. */
const OF_A_HEAD = /^(generator|pred_layer)$/;

const ROUTER = /(^|_)(routers?|gating)(_(proj|linear|layer|network|net))?$/;

/** Coefficients of a weighted sum: MiniMax's shared expert, Gemma 3n's streams. */
const MIXTURE = /^(coefs?|coeffs?|coefficients?)$/;

/** Names of low-rank factors in PEFT and others. */
const ADAPTER =
  /^lora_(a|b|up|down|embedding_[ab]|magnitude_vector)$|^(up|down)$/i;

const isProduct = (words: readonly string[]) =>
  words.some((word) => PRODUCT.test(word));

/** A norm's weight, by the name of its module. */
export function isNorm({ name }: Candidate): boolean {
  const words = partWords(name.module);
  return words.some((word) => NORM.test(word)) && !isProduct(words);
}

/** A lookup table has a row per entry, and no bias. */
export function isTable({ name, around }: Candidate): boolean {
  const words = partWords(name.module.replace(/\d+$/, ""));
  if (isProduct(words)) return false;
  // Patches of pixels are projected, not looked up; their positions are.
  const place = [...words, ...partWords(name.path.at(-1) ?? "")];
  if (place.includes("patch") && !words.some((word) => word.startsWith("pos")))
    return false;
  if (around.biasOf(name) !== undefined) return false;
  // CTRL's token table; within a layer, `w` is an ordinary weight.
  if (name.module === "w") return !name.layered;
  return (
    NAMED_TABLE.test(name.module) || words.some((word) => TABLE.test(word))
  );
}

/** An adapter, stored beside the layer that it adapts. */
export function isAdapter({ name: { module, path } }: Candidate): boolean {
  const parts = [...path, module];
  return parts.some((part, i) => {
    if (!ADAPTER.test(part)) return false;
    return /^lora_/i.test(part) || parts[i - 1] === "lora";
  });
}

/** A layer whose few outputs are the weights of a sum. */
export function isMixture({ name }: Candidate): boolean {
  return partWords(name.module).some((word) => MIXTURE.test(word));
}

/** The layer that chooses experts. */
export function isRouter({ name, head, around }: Candidate): boolean {
  const { module, path } = name;
  if (ROUTER.test(module) || /^shared_(experts?_)?gate$/.test(module))
    return true;
  if (path.slice(-2).some((part) => ROUTER.test(part))) return true;
  if (module === "wg" && /^gates?$/.test(path.at(-1) ?? "")) return true;
  // A layer beside experts with one output for each, whatever its name.
  if (around.isOfEachExpert(name, head.shape)) return true;
  // A router has a row per expert; a gate with a row per channel is an ordinary layer.
  if (module !== "gate") return false;
  const [rows, columns] = head.shape as [number, number];
  return rows < columns || around.hasExperts(name);
}

/** The layer from the last hidden state to scores. */
export function isOutputHead({ name, head, around }: Candidate): boolean {
  const { module, path, layered } = name;
  const [rows, columns] = head.shape as [number, number];
  if (/^[qkvr]_head$/.test(module)) return false;
  if (HEAD.test(module)) return true;
  const parent = path.at(-1) ?? "";
  if (module === "decoder" && /(^|_)head$|^predictions$/.test(parent))
    return true;
  // The model's last layer; `lm_head` may be a module with a norm and a layer.
  if (module === "head" && (path.length === 0 || parent === "shared_head"))
    return true;
  // A reward model's single score, whatever the layer is called.
  if (rows === 1 && parent === "v_head") return true;
  if (!around.isVocabulary(rows)) return false;
  if (HEAD.test(parent) || OF_A_HEAD.test(parent)) return true;
  if (layered) return false;
  // At top level, with a row per token but no token table: a head, whatever its name.
  return MAYBE_HEAD.test(module) || (path.length === 0 && rows > columns);
}
