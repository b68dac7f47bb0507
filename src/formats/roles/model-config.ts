/** The fields of a model's config.json that help to classify its tensors. All may be missing. */
import { isObject } from "../../api/json.ts";

export type ModelConfig = Readonly<Record<string, unknown>>;

/** Config keys of the residual width and vocabulary size in all families. */
const WIDTHS = ["hidden_size", "d_model", "n_embd", "dim", "model_dim"];
const VOCABULARIES = [
  "vocab_size",
  "padded_vocab_size",
  "n_vocab",
  "draft_vocab_size",
];
/** Keys of the number of routed experts: one, or one per kind of token. */
const EXPERTS =
  /^(num_experts|num_local_experts|n_routed_experts|num_routed_experts|moe_num_experts|n_experts)$/;

/** Widths in the config and in those of submodels: text, vision, audio. */
export function widthsOf(config: ModelConfig | undefined): Set<number> {
  return numbersAt(config, (key) => WIDTHS.includes(key));
}

export function vocabularySizesOf(
  config: ModelConfig | undefined,
): Set<number> {
  return numbersAt(config, (key) => VOCABULARIES.includes(key));
}

export function expertCountsOf(config: ModelConfig | undefined): Set<number> {
  return numbersAt(config, (key) => EXPERTS.test(key));
}

function numbersAt(
  config: ModelConfig | undefined,
  isAsked: (key: string) => boolean,
  found = new Set<number>(),
): Set<number> {
  for (const [key, value] of Object.entries(config ?? {})) {
    if (isAsked(key))
      for (const each of [value].flat())
        if (typeof each === "number") found.add(each);
    if (isObject(value)) numbersAt(value, isAsked, found);
  }
  return found;
}
