/** Which model a shape describes. The one place that names the architectures. */
import type { ModelShape } from "../api/types.ts";
import { shown } from "../api/option-kinds.ts";
import { AppError } from "../api/errors.ts";
import type { Decoder } from "./decoder.ts";
import { gpt2Decoder } from "./gpt2/decoder.ts";
import { GPT2 } from "./gpt2/gpt.ts";
import { llamaDecoder } from "./llama/decoder.ts";
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

/** What writes text, by the `model_type` of a config.json of transformers. */
const DECODERS: Readonly<
  Record<string, (config: Readonly<Record<string, unknown>>) => Decoder>
> = {
  gpt2: (config) => gpt2Decoder(GPT2.importedShape(config)),
  llama: llamaDecoder,
  mistral: llamaDecoder,
  qwen3: llamaDecoder,
};

/** Errors: `invalid_config` for a model that is computed otherwise, or cannot be */
export function decoderOf(config: Readonly<Record<string, unknown>>): Decoder {
  const { model_type: type } = config;
  if (typeof type === "string" && Object.hasOwn(DECODERS, type))
    return DECODERS[type]!(config);
  throw new AppError(
    "invalid_config",
    `Expected \`model_type\` to be one of ${Object.keys(DECODERS).join(", ")}, got ${shown(type)}`,
  );
}
