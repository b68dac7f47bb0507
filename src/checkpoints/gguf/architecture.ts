/** What llama.cpp needs of a model, derived from its config.json. */
import { shown } from "../../api/option-kinds.ts";
import {
  type Hyperparameters,
  notComputed,
  type Pairs,
} from "./hyperparameters.ts";
import type { Names } from "./names.ts";

export type GgufArchitecture = {
  /** `general.architecture`, the prefix of its keys. */
  name: string;
  names: (config: Hyperparameters) => Names;
  pairs: (config: Hyperparameters) => Pairs;
  /** Default of `tie_word_embeddings` if config.json does not say. */
  isTied?: true;
  /** A tensor computed from the config, not stored in the checkpoint. */
  computed?: (
    config: Hyperparameters,
  ) => { name: string; values: Float32Array } | undefined;
  /** Factor of the head if it is tied. */
  tiedScale?: (config: Hyperparameters) => number;
};

/**
 * Requires that every `period`th layer has full attention and the others a window, which llama.cpp assumes for the
 * architecture.
 */
export function checkLayerTypes(config: Hyperparameters, period: number): void {
  const types = config.get("layer_types");
  if (!Array.isArray(types)) return;
  const wrong = types.findIndex(
    (type, i) => (type === "full_attention") !== ((i + 1) % period === 0),
  );
  if (wrong >= 0)
    throw notComputed(
      `full attention in every layer of ${period} that is the last`,
      `${shown(types[wrong])} in layer ${wrong}`,
    );
}
