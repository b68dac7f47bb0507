/** Text generation with the kernels in this process. */
import { statSync } from "node:fs";
import { basename } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import type { TextEnding } from "../api/generation.ts";
import { aloneGguf } from "../checkpoints/checkpoint.ts";
import type { Folder } from "../checkpoints/read-heads.ts";
import { openTextModel } from "../generation/open-model.ts";
import { Writer, type WritingOptions } from "../generation/writer.ts";
import type { WeightFormat } from "../kernels/decode.ts";
import { loadDecodeFile, loadKernelsFile } from "../kernels/load-file.ts";
import { checkpointBytes, modelFile } from "../training/checkpoint-file.ts";
import { localBeside, localFolder } from "./ranged-files.ts";

/** Options with the prompt. */
export type TextOptions = WritingOptions & {
  prompt: string;
  signal?: AbortSignal;
};

/**
 * The model of a directory, a GGUF (also alone in a directory), or a run's checkpoint. Errors: `file_not_found`, and
 * those of `openTextModel`
 */
export async function localModel(path: string): Promise<Folder> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found?.isDirectory())
    return modelFile(basename(path), localBeside(path));
  const folder = localFolder(path);
  const gguf = aloneGguf((await folder.list())!);
  return gguf === undefined
    ? folder
    : modelFile(gguf, (part) => folder.open(part));
}

export async function openWriter(
  folder: Folder,
  weights: WeightFormat = "f32",
): Promise<Writer> {
  loadKernelsFile();
  loadDecodeFile();
  const opened = await openTextModel(folder);
  return new Writer(await opened.load(weights));
}

/** Yields to the event loop between tokens; `signal` stops the text. */
export async function* writePieces(
  writer: Writer,
  { prompt, signal, ...options }: TextOptions,
): AsyncGenerator<string, TextEnding | undefined> {
  const writing = writer.write(prompt, options, async () => {
    await turn();
  });
  for (;;) {
    const { value, done } = await writing.next();
    if (done) return value;
    if (signal?.aborted) return undefined;
    yield value;
  }
}

/** The prompt and its continuation by a checkpoint. */
export async function textOf(
  checkpoint: Uint8Array,
  options: TextOptions,
): Promise<string> {
  const writer = await openWriter(await checkpointBytes(checkpoint));
  try {
    let text = options.prompt;
    for await (const piece of writePieces(writer, options)) text += piece;
    return text;
  } finally {
    writer.free();
  }
}
