/** How readers refuse a file that is not what its format says, in messages of bounded length. */
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

/** A value of JSON. */
export function shownJson(value: unknown): string {
  return cut(JSON.stringify(value) ?? "nothing", 80);
}

/** A name, which may be megabytes of anything. */
export function quoted(name: string): string {
  return cut(JSON.stringify(name), 200);
}

function cut(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 3)}...`;
}
