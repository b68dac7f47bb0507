import { AppError } from "../api/errors.ts";

/** How a reader refuses a file that is not what its format says. */
export function malformedFile(
  format: "safetensors" | "GGUF" | ".npy",
  expected: string,
  got: string,
): AppError {
  return new AppError(
    "malformed_body",
    `Expected ${format} with ${expected}, got ${got}`,
  );
}

/** A value of JSON, in a message. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}
