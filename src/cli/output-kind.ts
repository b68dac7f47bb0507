/** Refuses output names with the extension of another kind: llama.cpp would not load a folder called model.gguf. */
import { extname } from "node:path";
import { UsageError } from "./file-arguments.ts";

const KINDS = {
  ".gguf": "a GGUF",
  ".safetensors": "safetensors",
  ".npy": "npy",
  ".tar": "a tar",
  ".csv": "CSV",
  ".jsonl": "JSON lines",
} as const;

export type OutputKind = (typeof KINDS)[keyof typeof KINDS] | "a folder";

/**
 * `other`: how to write the kind that the name suggests, if possible. Names without a known extension are accepted.
 * Errors: `UsageError`
 */
export function checkNamedFor(
  path: string,
  written: OutputKind,
  other: Partial<Record<OutputKind, string>> = {},
  option = "--output",
): void {
  const named = (KINDS as Record<string, OutputKind>)[
    extname(path).toLowerCase()
  ];
  if (named === undefined || named === written) return;
  const remedy = other[named];
  throw new UsageError(
    `Expected ${option} to be a name for ${written}, which is what is written, got ${path}${remedy === undefined ? "" : `; ${remedy}`}`,
  );
}
