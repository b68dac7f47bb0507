/** Which model a shape describes. The one place that names the architectures. */
import type { ModelShape } from "../api/types.ts";
import { GPT2 } from "./gpt2/gpt.ts";
import type { Architecture, Model } from "./model.ts";

/** There is one so far, so every shape is one of it. */
export function architectureOf(_shape: ModelShape): Architecture {
  return GPT2;
}

/** Of a config.json of transformers. Errors: `invalid_config` */
export function importedShape(
  config: Readonly<Record<string, unknown>>,
): ModelShape {
  return GPT2.importedShape(config);
}

/** Errors: `invalid_config`, no such model can be */
export function modelOf(shape: ModelShape): Model {
  return architectureOf(shape).model(shape);
}
