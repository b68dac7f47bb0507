/** Converts a folder to one GGUF: tensors, config and tokenizer. */
import { checkConfigSizes } from "../config-sizes.ts";
import { withDefaults } from "../../api/option-kinds.ts";
import { QUANTIZE_OPTIONS, SELECTION_OPTIONS } from "../../api/options.ts";
import type { Scheme } from "../../api/scheme.ts";
import type { QuantizeOptions } from "../../api/tensors.ts";
import { schemeOf } from "../../formats/blocks/scheme.ts";
import type { ValueWatch } from "../../formats/operations/nonfinite-values.ts";
import { type Folder, readFolder } from "../read-heads.ts";
import {
  type DecidedGguf,
  decideGgufDirectory,
  type GgufChoices,
  tensorOf,
} from "./decide-gguf.ts";
import { type GgufPlan, planGguf } from "./gguf-plan.ts";
import { vocabularyPairs } from "./vocabulary.ts";

/** The choices of a request. */
export function ggufChoices(
  options: QuantizeOptions,
): GgufChoices & { scheme: Scheme } {
  return {
    scheme: schemeOf(options),
    selection: withDefaults(SELECTION_OPTIONS, options),
    output: options.outputType ?? QUANTIZE_OPTIONS.outputType.default,
    types: options.tensorType ?? [],
  };
}

/** `name`: the model's name. Errors: those of `readFolder`, `decideGgufDirectory`, `planGguf`, `vocabularyPairs` */
export async function planFolderGguf(
  folder: Folder,
  name: string,
  choices: GgufChoices & { scheme: Scheme },
  values?: ValueWatch,
): Promise<GgufPlan & { decided: DecidedGguf }> {
  const checkpoint = await readFolder(folder);
  checkConfigSizes(checkpoint);
  const decided = decideGgufDirectory(checkpoint, choices);
  const table = tensorOf(decided, "token_embd.weight");
  const vocabulary = await vocabularyPairs(
    folder,
    table.shape[0]!,
    checkpoint.config!,
  );
  return { decided, ...planGguf(decided, vocabulary, name, choices, values) };
}
