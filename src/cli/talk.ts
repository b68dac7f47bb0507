/** An interactive session with a model in the terminal. */
import { createInterface } from "node:readline/promises";
import type { TextEnding } from "../api/generation.ts";
import { UsageError } from "./file-arguments.ts";

/** Writes a continuation of the prompt; returns how it ended, undefined if aborted. */
export type Write = (
  prompt: string,
  put: (piece: string) => void,
  signal?: AbortSignal,
) => Promise<TextEnding | undefined>;

/**
 * User and model extend a common text in turns. Ctrl-C stops the model's text or, at the prompt, the command. Errors:
 * `UsageError` if stdin is not a terminal and empty
 */
export async function converse(write: Write): Promise<void> {
  const lines = createInterface({
    input: process.stdin,
    output: process.stderr,
    prompt: "> ",
  });
  let text = "";
  // Lines received before the end of stdin are still answered.
  let isOpen = true;
  lines.on("close", () => (isOpen = false));
  let isWritten = false;
  let writing: AbortController | undefined;
  lines.on("SIGINT", () => {
    if (writing) writing.abort();
    else lines.close();
  });
  lines.prompt();
  for await (const line of lines) {
    text += line;
    if (text !== "") {
      isWritten = true;
      writing = new AbortController();
      const put = (piece: string): void => {
        text += piece;
        process.stdout.write(piece);
      };
      await write(text, put, writing.signal);
      writing = undefined;
      process.stdout.write("\n");
    }
    if (isOpen) lines.prompt();
  }
  if (!isWritten && !process.stdin.isTTY)
    throw new UsageError(
      "Expected --prompt, or a line on stdin to continue, got neither",
    );
}
