/** What a model's config.json says that tells its tensors apart. All of it may be missing. */
import { isObject } from "../containers/safetensors-json.ts";

export type ModelConfig = Readonly<Record<string, unknown>>;

/** Keys of the width of the residual stream, and of the vocabulary's size, in any family's config. */
const WIDTHS = ["hidden_size", "d_model", "n_embd", "dim", "model_dim"];
const VOCABULARIES = ["vocab_size", "padded_vocab_size", "n_vocab"];

/** Widths that the config names, its own and those of the models within: text, vision, audio. */
export function widthsOf(config: ModelConfig | undefined): Set<number> {
  return numbersAt(config, WIDTHS);
}

export function vocabularySizesOf(
  config: ModelConfig | undefined,
): Set<number> {
  return numbersAt(config, VOCABULARIES);
}

function numbersAt(
  config: ModelConfig | undefined,
  keys: readonly string[],
  found = new Set<number>(),
): Set<number> {
  for (const [key, value] of Object.entries(config ?? {})) {
    if (keys.includes(key) && typeof value === "number") found.add(value);
    if (isObject(value)) numbersAt(value, keys, found);
  }
  return found;
}
