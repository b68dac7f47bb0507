/**
 * Names by which a person or a program would take an output for another kind of thing than it is: llama.cpp loads no
 * folder that is called model.gguf.
 */
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
 * `other` is said of how the kind that the name is of is written, where it can be. What has no ending, or one that is
 * none of these, may be anything.
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
