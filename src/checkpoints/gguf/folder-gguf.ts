/** A folder as one GGUF: its tensors, its config and its tokenizer. */
import type { Scheme } from "../../api/scheme.ts";
import type { Values } from "../../formats/operations/nonfinite-values.ts";
import { type Folder, readFolder } from "../read-heads.ts";
import {
  type DecidedGguf,
  decideGgufDirectory,
  type GgufChoices,
  tensorOf,
} from "./decide-gguf.ts";
import { type GgufPlan, planGguf } from "./gguf-plan.ts";
import { vocabularyPairs } from "./vocabulary.ts";

/** `name`: what the model is called. Errors: those of `readFolder`, `decideGgufDirectory`, `planGguf`, `vocabularyPairs` */
export async function planFolderGguf(
  folder: Folder,
  name: string,
  choices: GgufChoices & { scheme: Scheme },
  values?: Values,
): Promise<GgufPlan & { decided: DecidedGguf }> {
  const checkpoint = await readFolder(folder);
  const decided = decideGgufDirectory(checkpoint, choices);
  const table = tensorOf(decided, "token_embd.weight");
  const vocabulary = await vocabularyPairs(
    folder,
    table.shape[0]!,
    checkpoint.config!,
  );
  return { decided, ...planGguf(decided, vocabulary, name, choices, values) };
}
