/**
 * Maps the pre-tokenizer of a tokenizer.json to llama.cpp's name of an equal one, by its regular expressions; a GGUF
 * has only that name (llama.cpp, src/llama-vocab.cpp).
 */
import { AppError } from "../../api/errors.ts";
import { isObject } from "../../api/json.ts";
import { shown } from "../../api/option-kinds.ts";
import { BYTE_LEVEL } from "../byte-level-step.ts";
import { notCarried } from "./not-carried.ts";
import type { TokenizerJson } from "./tokenizer-json.ts";

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const TAIL = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const UPPER = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const LOWER = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";

/** GPT-2's split, built into the step ByteLevel. */
const GPT2 =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Of Llama 3 and Qwen 2, which differ in the digits per word. */
const words = (digits: string) =>
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${TAIL}`;

/** Of GPT-4o and Mistral, which split at case changes. */
const cased = (contractions: string, digits: string) =>
  [
    `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${contractions}`,
    `[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${contractions}`,
    digits,
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*",
    TAIL,
  ].join("|");

/** Steps, one per line, with llama.cpp's name. */
const NAMES: ReadonlyMap<string, string> = new Map([
  [GPT2, "gpt-2"],
  [words("\\p{N}{1,3}"), "llama-bpe"],
  [words("\\p{N}"), "qwen2"],
  [cased(`${CONTRACTIONS}?`, "\\p{N}{1,3}"), "gpt-4o"],
  [cased("", "\\p{N}"), "tekken"],
  [`digit\n${GPT2}`, "smollm"],
]);

/** Splits like Qwen 2's, without NFC; llama.cpp treats both alike. */
const QWEN2 = "qwen2";
const UNCOMPOSED_QWEN2 = "deepseek-r1-qwen";

/** Other names of llama.cpp with equal splits, merges and special tokens. */
const ALIASES: Readonly<Record<string, string>> = {
  llama3: "llama-bpe",
  "llama-v3": "llama-bpe",
  llama4: "gpt-4o",
  "phi-2": "gpt-2",
};

/** Of two such names, the one that tells whether text is normalized. */
export function carriedName(name: string, isComposed: boolean): string {
  return name === QWEN2 && !isComposed ? UNCOMPOSED_QWEN2 : name;
}

/** NFC for Qwen's tokenizers, implied by their name. */
export function normalizerOf(name: string): object | null {
  return name === QWEN2 ? { type: "NFC" } : null;
}

/** The canonical name. Errors: `invalid_option` for other names */
export function knownName(name: string | undefined): string {
  if (name === undefined) throw unknownName(name);
  return Object.hasOwn(ALIASES, name) ? ALIASES[name]! : name;
}

function unknownName(name: string | undefined): AppError {
  const known = [...NAMES.values(), UNCOMPOSED_QWEN2].join(", ");
  return new AppError(
    "invalid_option",
    `Expected a GGUF with \`tokenizer.ggml.pre\` ${known}, got ${name === undefined ? "none" : shown(name)}`,
  );
}

/** Pre-tokenizers whose words are tokens without merging, if in the vocabulary. */
export const IGNORES_MERGES: readonly string[] = ["llama-bpe", "tekken"];

/** Errors: `invalid_option` for steps without a name in llama.cpp */
export function preTokenizerOf({ preTokenizers }: TokenizerJson): string {
  const isBytes = ({ type }: { type?: unknown }) => type === "ByteLevel";
  const last = preTokenizers.length - 1;
  if (preTokenizers.findIndex(isBytes) !== last || last < 0)
    throw notCarried(
      `the pre-tokenizers ${shown(preTokenizers.map(({ type }) => type))}`,
      "llama.cpp writes a text's bytes once, when it has cut it (a last step ByteLevel)",
    );
  if (preTokenizers[last]!.add_prefix_space === true)
    throw notCarried(
      "`add_prefix_space` of ByteLevel",
      "llama.cpp puts no space before byte pairs",
    );
  const steps = preTokenizers.flatMap((step) => stepText(step) ?? []);
  const name = NAMES.get(steps.join("\n"));
  if (name !== undefined) return name;
  const known = [...new Set(NAMES.values())].join(", ");
  throw new AppError(
    "invalid_option",
    `Expected a pre-tokenizer that llama.cpp has, one of ${known}, got the steps ${JSON.stringify(preTokenizers)}`,
  );
}

/** The steps of a name, for a tokenizer.json. Errors: `invalid_option` for an unknown name */
export function preTokenizerSteps(name: string): Record<string, unknown>[] {
  const cut = name === UNCOMPOSED_QWEN2 ? QWEN2 : name;
  const [text] = [...NAMES].find(([, each]) => each === cut) ?? [];
  if (text === undefined) throw unknownName(name);
  const steps = text.split("\n").map((step) => {
    if (step === GPT2) return BYTE_LEVEL;
    if (step === "digit") return { type: "Digits", individual_digits: true };
    const pattern = { Regex: step };
    return { type: "Split", pattern, behavior: "Isolated", invert: false };
  });
  return text.endsWith(GPT2)
    ? steps
    : [...steps, { ...BYTE_LEVEL, use_regex: false }];
}

/** The regular expression of a step; undefined if it does not split. */
function stepText(step: Readonly<Record<string, unknown>>): string | undefined {
  const { type, pattern, use_regex: usesRegex, behavior, invert } = step;
  if (type === "ByteLevel") return usesRegex === false ? undefined : GPT2;
  if (type === "Digits" && step.individual_digits === true) return "digit";
  if (
    type === "Split" &&
    isObject(pattern) &&
    typeof pattern.Regex === "string" &&
    // These patterns match the whole text without gaps.
    (behavior === "Isolated" || (behavior === "Removed" && invert === true))
  )
    return pattern.Regex;
  return JSON.stringify(step);
}
