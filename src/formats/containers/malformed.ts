/** Errors for malformed files, with messages of bounded length. */
import { AppError } from "../../api/errors.ts";

export function malformedFile(
  format: "safetensors" | "GGUF" | ".npy",
): (expected: string, got: string) => AppError {
  return (expected, got) =>
    new AppError(
      "malformed_body",
      `Expected ${format} with ${expected}, got ${got}`,
    );
}

/** Shows a JSON value. */
export function shownJson(value: unknown): string {
  return cut(JSON.stringify(value) ?? "nothing", 80);
}

/** Shows a name, which may be arbitrarily long. */
export function quoted(name: string): string {
  return cut(JSON.stringify(name), 200);
}

function cut(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 3)}...`;
}
