/** The option for the largest size of a directory's weight files. */
import type { ArgsDef } from "citty";
import { valued } from "./argument.ts";
import { type Arguments, UsageError } from "./file-arguments.ts";
import { checkThere } from "./stdio.ts";

const DEFAULT_SHARD = "5GB";

export const shardArguments = {
  "max-shard-size": valued(
    "5GB",
    `For a directory: largest number of tensor bytes per file (default: ${DEFAULT_SHARD})`,
  ),
} satisfies ArgsDef;

/** Errors: `UsageError` */
export function maxShardBytes(given: Arguments): number {
  return bytesOf(
    (given["max-shard-size"] as string | undefined) ?? DEFAULT_SHARD,
  );
}

/** Errors: `UsageError` if the option was given for a file */
export function checkNoShardSize(given: Arguments): void {
  if (given["max-shard-size"] === undefined) return;
  checkThere(given.file as string);
  throw new UsageError("Expected a directory for --max-shard-size, got a file");
}

/** `5GB`, `500MB`, `1000000`: powers of 1000, as in transformers. */
function bytesOf(text: string): number {
  const told = /^(\d+(?:\.\d+)?)\s*([KMGT]?)B?$/i.exec(text);
  const bytes = told
    ? Number(told[1]) * 1000 ** " KMGT".indexOf(told[2]!.toUpperCase() || " ")
    : 0;
  if (bytes >= 1) return Math.floor(bytes);
  throw new UsageError(
    `Expected --max-shard-size as in 5GB or 500MB, got "${text}"`,
  );
}
