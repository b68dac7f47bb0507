/** Recognizes a checkpoint's quantized formats, by its tensors or its config.json. */
import {
  type RecognizedFormat,
  recognizeFormats,
} from "../formats/blocks/foreign-formats.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import { hasElements, type TensorHead } from "../formats/tensor.ts";
import { CONFIG_FILE } from "./checkpoint.ts";

/** The formats by the tensors, or, if they tell nothing, by config.json. */
export function formatsIn(
  tensors: readonly TensorHead[],
  config: ModelConfig | undefined,
): RecognizedFormat[] {
  const found = recognizeFormats(tensors);
  const method = methodOf(config);
  return found.length > 0 || method === undefined
    ? found
    : [{ format: method, weights: 0, example: CONFIG_FILE }];
}

/** In words: the formats, or the dtypes if no format is known. */
export function whatIsIn(
  tensors: readonly TensorHead[],
  config: ModelConfig | undefined,
): string {
  const some = tensors.filter(hasElements);
  if (some.length === 0) return "no tensors with elements";
  const formats = formatsIn(some, config).map(({ format }) => format);
  const told =
    formats.length > 0 ? formats : [...new Set(some.map(({ dtype }) => dtype))];
  return told.join(", ");
}

/** The quantization method in config.json. */
function methodOf(config: ModelConfig | undefined): string | undefined {
  const own = config?.quantization_config;
  if (typeof own !== "object" || own === null) return undefined;
  const { quant_method: method } = own as Record<string, unknown>;
  return typeof method === "string" ? method : undefined;
}
