/** What a model's config.json says that tells its tensors apart. All of it may be missing. */
import { isObject } from "../../api/json.ts";

export type ModelConfig = Readonly<Record<string, unknown>>;

/** Keys of the width of the residual stream, and of the vocabulary's size, in any family's config. */
const WIDTHS = ["hidden_size", "d_model", "n_embd", "dim", "model_dim"];
const VOCABULARIES = [
  "vocab_size",
  "padded_vocab_size",
  "n_vocab",
  "draft_vocab_size",
];
/** Of routed experts: one number, or one for each kind of token. */
const EXPERTS =
  /^(num_experts|num_local_experts|n_routed_experts|num_routed_experts|moe_num_experts|n_experts)$/;

/** Widths that the config names, its own and those of the models within: text, vision, audio. */
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
