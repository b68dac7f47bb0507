/** GGUFs split by llama-gguf-split: keys tell which part a file is, file names where the others are. */
import { AppError } from "../../api/errors.ts";
import { ggufValue } from "./gguf-value.ts";
import { malformedFile, quoted } from "./malformed.ts";

const malformed = malformedFile("GGUF");

const KEYS = {
  part: "split.no",
  parts: "split.count",
  tensors: "split.tensors.count",
} as const;
/** Parts count from 1 in names, and from 0 in keys. */
const NAME = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/** A file's part number, from 0, the number of parts, and the total number of tensors. */
export type Split = {
  part: number;
  parts: number;
  tensors: number | undefined;
};
type Pairs = ReadonlyMap<string, Uint8Array>;

/** Undefined for a file that is not split. Errors: `malformed_body` for invalid keys */
export function splitOf(pairs: Pairs): Split | undefined {
  const parts = numberOf(pairs, KEYS.parts) ?? 1;
  if (parts <= 1) return undefined;
  const part = numberOf(pairs, KEYS.part) ?? 0;
  if (part >= parts)
    throw malformed(`${KEYS.part} below ${KEYS.parts}, ${parts}`, `${part}`);
  return { part, parts, tensors: numberOf(pairs, KEYS.tensors) };
}

function numberOf(pairs: Pairs, key: string): number | undefined {
  const encoded = pairs.get(key);
  if (!encoded) return undefined;
  const value = ggufValue(encoded);
  const number = typeof value === "bigint" ? Number(value) : value;
  if (Number.isSafeInteger(number) && Number(number) >= 0)
    return Number(number);
  throw malformed(`${key} to be a whole number`, "another value");
}

/** Whether a key is only about the split. */
export function isOfSplit(key: string): boolean {
  return (Object.values(KEYS) as string[]).includes(key);
}

/** Errors: `malformed_body` for a part of a split file, if the others cannot be read */
export function checkWhole(pairs: Pairs): void {
  const split = splitOf(pairs);
  if (!split) return;
  const { part, parts } = split;
  throw new AppError(
    "malformed_body",
    `Expected a whole GGUF, got part ${part + 1} of ${parts}; merge the parts with \`llama-gguf-split --merge\`, or give a command the first part in the directory of all`,
  );
}

/**
 * The names of all parts, from the first one's, `name`. Errors: `malformed_body` if `name` is another part, or is not
 * named by the convention
 */
export function namesOfParts(name: string, { part, parts }: Split): string[] {
  const [, prefix, , told] = NAME.exec(name) ?? [];
  const all = Array.from({ length: parts }, (_, i) =>
    nameOf(prefix ?? "NAME", i, parts),
  );
  const first = all[0]!;
  if (
    prefix !== undefined &&
    Number(told) === parts &&
    name === first &&
    part === 0
  )
    return all;
  throw malformed(
    `the first of its ${parts} parts named, ${first}, beside the others`,
    `part ${part + 1}, ${quoted(name)}`,
  );
}

function nameOf(prefix: string, part: number, parts: number): string {
  const digits = (number: number) => String(number).padStart(5, "0");
  return `${prefix}-${digits(part + 1)}-of-${digits(parts)}.gguf`;
}

/** The first name, if the names are the parts of one split file; otherwise undefined. */
export function firstOfSplit(names: readonly string[]): string | undefined {
  const sets = new Set(names.map((name) => name.replace(NAME, "$1/$3")));
  const isSplit = names.every((name) => NAME.test(name));
  return isSplit && sets.size === 1 ? names.toSorted()[0] : undefined;
}
