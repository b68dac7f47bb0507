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
 * The bytes after the prompt, one by one: tokens are bytes. Between two, signals and events have their
 * turn. `file` is a checkpoint's bytes.
 */
export async function* generateBytes(
  file: Uint8Array,
  { prompt, tokens, signal, ...options }: TextOptions,
): AsyncGenerator<number> {
  const { config, tensors } = readCheckpoint(file);
  const { arena } = loadKernelsFile();
  const model = modelOf(config.model);
  const text = Array.from(new TextEncoder().encode(prompt));
  for (let i = 0; i < tokens; i++) {
    await turn();
    if (signal?.aborted) return;
    const token = arena.scope(() => {
      const parameters = arena.allocZeroedF32(model.table.length);
      for (const { name, offset } of model.table.tensors) {
        const bytes = tensors.get(name)!;
        arena.u8(parameters + offset * 4, bytes.length).set(bytes);
      }
      return nextToken(model, flatParameters(parameters), text, options);
    });
    text.push(token);
    yield token;
  }
}

/** The same as text, the prompt before it. */
export async function generateText(
  file: Uint8Array,
  options: TextOptions,
): Promise<string> {
  const bytes: number[] = [];
  for await (const byte of generateBytes(file, options)) bytes.push(byte);
  return options.prompt + new TextDecoder().decode(Uint8Array.from(bytes));
}
