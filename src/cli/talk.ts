/** A talk with a model in the terminal. */
import { createInterface } from "node:readline/promises";
import type { TextEnding } from "../api/generation.ts";
import { UsageError } from "./file-arguments.ts";

/** Writes what follows a text; gives back how it ended, undefined where a signal ended it. */
export type Write = (
  prompt: string,
  put: (piece: string) => void,
  signal?: AbortSignal,
) => Promise<TextEnding | undefined>;

/**
 * A text that both write: a line of the person's, then what the model makes of all there is. Ctrl-C ends what it writes,
 * and at a prompt the command.
 * Errors: `UsageError` where stdin is no terminal and has nothing to go on from
 */
export async function converse(write: Write): Promise<void> {
  const lines = createInterface({
    input: process.stdin,
    output: process.stderr,
    prompt: "> ",
  });
  let text = "";
  // Lines that came before the end are still answered.
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
