/** Text from a checkpoint, by the kernels in this process. */
import { setImmediate as turn } from "node:timers/promises";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { modelOf } from "../model/architectures.ts";
import { flatParameters } from "../model/flat-vector.ts";
import { nextToken, type SamplingOptions } from "../model/generate.ts";
import { readCheckpoint } from "../training/checkpoint.ts";

export type TextOptions = Omit<SamplingOptions, "recipe"> & {
  prompt: string;
  tokens: number;
  signal?: AbortSignal;
};

/**
 * What follows the prompt, a token at a time: its characters as far as they are whole. Between two tokens,
 * signals and events have their turn. `file` is a checkpoint's bytes.
 */
export async function* generatePieces(
  file: Uint8Array,
  { prompt, tokens, signal, ...options }: TextOptions,
): AsyncGenerator<string> {
  const { config, tokenizer, tensors } = readCheckpoint(file);
  const { arena } = loadKernelsFile();
  const model = modelOf(config.model);
  const ids = Array.from(tokenizer.encode(prompt));
  const bytes = tokenizer.tokens();
  const utf8 = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });
  for (let i = 0; i < tokens; i++) {
    await turn();
    if (signal?.aborted) return;
    const id = arena.scope(() => {
      const parameters = arena.allocZeroedF32(model.table.length);
      for (const { name, offset } of model.table.tensors) {
        const data = tensors.get(name)!;
        arena.u8(parameters + offset * 4, data.length).set(data);
      }
      return nextToken(model, flatParameters(parameters), ids, options);
    });
    ids.push(id);
    yield utf8.decode(bytes[id], { stream: true });
  }
  yield utf8.decode();
}

/** The same in one, the prompt before it. */
export async function generateText(
  file: Uint8Array,
  options: TextOptions,
): Promise<string> {
  let text = options.prompt;
  for await (const piece of generatePieces(file, options)) text += piece;
  return text;
}
