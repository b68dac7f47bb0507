/** Which model a shape describes. The one place that names the architectures. */
import type { ModelShape } from "../api/types.ts";
import { Gpt2 } from "./gpt2/gpt.ts";
import type { Model } from "./model.ts";

/** Errors: `invalid_config`, no such model can be */
export function modelOf(shape: ModelShape): Model {
  return new Gpt2(shape);
}
