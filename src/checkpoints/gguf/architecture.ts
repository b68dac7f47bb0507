/** What llama.cpp asks of a model, by its config.json. */
import { shown } from "../../api/option-kinds.ts";
import {
  type Hyperparameters,
  notComputed,
  type Pairs,
} from "./hyperparameters.ts";
import type { Names } from "./names.ts";

export type GgufArchitecture = {
  /** `general.architecture`, which stands before its keys. */
  name: string;
  names: (config: Hyperparameters) => Names;
  pairs: (config: Hyperparameters) => Pairs;
  /** Whether its head is its table of tokens where config.json does not say. */
  isTied?: true;
  /** Values that no tensor of the checkpoint has. */
  computed?: (
    config: Hyperparameters,
  ) => { name: string; values: Float32Array } | undefined;
  /** What its head is multiplied by where it is tied. */
  tiedScale?: (config: Hyperparameters) => number;
};

/** Every `period`th layer attends to all, the others to a window: llama.cpp knows it by the architecture. */
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
