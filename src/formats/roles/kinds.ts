/**
 * The kinds of tensors that stay as they are, told by their names' words, their shapes and what stands
 * beside them, never by a model's name. A kind says why in words.
 */
import type { TensorHead } from "../tensor.ts";
import type { Surroundings } from "./surroundings.ts";
import { type TensorName, partWords } from "./tensor-name.ts";

export type Candidate = {
  head: TensorHead;
  name: TensorName;
  around: Surroundings;
};

/** Words of a module that makes a product of its weight, whatever else its name says. */
const PRODUCT =
  /^(proj|projs|projection|projections|projector|project|linear|lin|dense|fc|mlp|transform|transformation|mapping|ffn|qkv)$/;

/** Words of a table whose rows are looked up. */
const TABLE =
  /^(embed|embeds|embedding|embeddings|embedder|embd|emb|embs|wte|wpe|codebooks?|tokens?|positions?)$/;

/** Names of tables that no such word tells. */
const NAMED_TABLE =
  /^(shared|w|pe_k|query_feat|queries_features|bias_values|reference_points|relative_attention_bias|embedder_?\d*)$/i;

const NORM = /(norm|norms)\d*$|^(ln|bn|gn)\d*$/;

/** Output heads, whatever their shape. `k_head` and its like are projections of attention. */
const HEAD =
  /^(lm|codec|audio|text|image|vision|codebooks|token|bpe|char|wp|class|ctc|mtp|value)(_\w+)?_heads?$|^\w+_lm_head$|^(embed_out|unembed|score|classifier|qa_outputs|seq_relationship)$/;

/** Names that heads have, and other layers too: a vocabulary's rows tell. */
const MAYBE_HEAD =
  /^(head|output|output_layer|output_projection|decoder|proj_out|ff_out|out|final|logits_dense|fc_out)$/;

const ROUTER = /(^|_)routers?$/;

const isProduct = (words: readonly string[]) =>
  words.some((word) => PRODUCT.test(word));

/** A norm's weight, by the name of its module. */
export function isNorm({ name }: Candidate): boolean {
  const words = partWords(name.module);
  return words.some((word) => NORM.test(word)) && !isProduct(words);
}

/** A table has a row for each of its entries, and no bias. */
export function isTable({ name, around }: Candidate): boolean {
  const words = partWords(name.module.replace(/\d+$/, ""));
  if (isProduct(words)) return false;
  // Pixels are not looked up, the positions of patches are.
  const place = [...words, ...partWords(name.path.at(-1) ?? "")];
  if (place.includes("patch") && !words.some((word) => word.startsWith("pos")))
    return false;
  if (around.biasOf(name) !== undefined) return false;
  return (
    NAMED_TABLE.test(name.module) || words.some((word) => TABLE.test(word))
  );
}

/** The layer that chooses experts. */
export function isRouter({ name, head, around }: Candidate): boolean {
  const { module, path } = name;
  if (ROUTER.test(module) || /^shared_experts?_gate$/.test(module)) return true;
  if (path.slice(-2).some((part) => ROUTER.test(part))) return true;
  if (module === "wg" && path.at(-1) === "gate") return true;
  // A gate with a row for each expert; a gate with a row for each channel is a layer like another.
  if (module !== "gate") return false;
  const [rows, columns] = head.shape as [number, number];
  return rows < columns || around.hasExperts(name);
}

/** What turns the last hidden state into scores. */
export function isOutputHead({ name, head, around }: Candidate): boolean {
  const { module, path, layered } = name;
  if (/^[qkvr]_head$/.test(module)) return false;
  if (HEAD.test(module)) return true;
  const parent = path.at(-1) ?? "";
  if (module === "decoder" && /(^|_)head$|^predictions$/.test(parent))
    return true;
  // A model's last layer; `lm_head` may be a norm and a layer.
  if (module === "head" && (path.length === 0 || parent === "shared_head"))
    return true;
  if (HEAD.test(parent) && around.isVocabulary(head.shape[0]!)) return true;
  if (layered || !MAYBE_HEAD.test(module)) return false;
  return around.isVocabulary(head.shape[0]!);
}
