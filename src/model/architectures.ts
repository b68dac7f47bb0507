/** Maps a shape or a config.json to its architecture. The only place that names the architectures. */
import { AppError } from "../api/errors.ts";
import { shown } from "../api/option-kinds.ts";
import {
  type ArchitectureName,
  type ModelRequest,
  type ModelShape,
  type ModelSizes,
  DEFAULT_ARCHITECTURE,
} from "../api/run-config.ts";
import type { Decoder } from "./decoder.ts";
import { gpt2Decoder } from "./gpt2/decoder.ts";
import { GPT2_ARCHITECTURE } from "./gpt2/gpt.ts";
import { llamaDecoder } from "./llama/decoder.ts";
import { LLAMA_ARCHITECTURE } from "./llama/llama.ts";
import type { Architecture, Model } from "./model.ts";

const BY_NAME = {
  gpt2: GPT2_ARCHITECTURE,
  llama: LLAMA_ARCHITECTURE,
} as const satisfies Record<ArchitectureName, unknown>;

export function architectureOf({ arch }: ModelShape): Architecture {
  // Each takes the shapes that name it, and a shape names the one that it is of.
  return BY_NAME[arch ?? DEFAULT_ARCHITECTURE] as unknown as Architecture;
}

/** Errors: `invalid_config` for sizes that the architecture does not have */
export function completeShape(asked: ModelRequest & ModelSizes): ModelShape {
  return BY_NAME[asked.arch ?? DEFAULT_ARCHITECTURE].complete(asked);
}

/** Errors: `invalid_config` for an impossible shape */
export function modelOf(shape: ModelShape): Model {
  return architectureOf(shape).model(shape);
}

type Config = Readonly<Record<string, unknown>>;

/** Architecture and decoder by the `model_type` of transformers' config.json. */
const BY_TYPE: Readonly<
  Record<
    string,
    { arch: ArchitectureName; decoder: (config: Config) => Decoder }
  >
> = {
  gpt2: {
    arch: "gpt2",
    decoder: (config) => gpt2Decoder(GPT2_ARCHITECTURE.importedShape(config)),
  },
  llama: { arch: "llama", decoder: llamaDecoder },
  mistral: { arch: "llama", decoder: llamaDecoder },
  qwen2: { arch: "llama", decoder: llamaDecoder },
  qwen3: { arch: "llama", decoder: llamaDecoder },
  phi3: { arch: "llama", decoder: llamaDecoder },
};

/** Errors: `invalid_config` for a model that is computed otherwise, or cannot be */
export function importedShape(config: Config): ModelShape {
  return BY_NAME[kindOf(config).arch].importedShape(config);
}

/** Errors: `invalid_config` for a model that is computed otherwise, or cannot be */
export function decoderOf(config: Config): Decoder {
  return kindOf(config).decoder(config);
}

function kindOf({ model_type: type }: Config) {
  if (typeof type === "string" && Object.hasOwn(BY_TYPE, type))
    return BY_TYPE[type]!;
  throw new AppError(
    "invalid_config",
    `Expected \`model_type\` to be one of ${Object.keys(BY_TYPE).join(", ")}, got ${shown(type)}`,
  );
}
