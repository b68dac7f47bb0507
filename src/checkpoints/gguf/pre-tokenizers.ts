/**
 * Which of llama.cpp's pre-tokenizers cuts text as a tokenizer.json says, by the expressions that it has: their
 * names are all that a GGUF tells of them (llama.cpp, src/llama-vocab.cpp).
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

/** What GPT-2 cuts by, which the step ByteLevel has built in. */
const GPT2 =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Llama 3's and Qwen 2's, which differ in how many digits are one word. */
const words = (digits: string) =>
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${TAIL}`;

/** GPT-4o's and Mistral's, which cut at a change of case. */
const cased = (contractions: string, digits: string) =>
  [
    `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${contractions}`,
    `[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${contractions}`,
    digits,
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*",
    TAIL,
  ].join("|");

/** Steps, one in a line, by the name that llama.cpp has for them. */
const NAMES: ReadonlyMap<string, string> = new Map([
  [GPT2, "gpt-2"],
  [words("\\p{N}{1,3}"), "llama-bpe"],
  [words("\\p{N}"), "qwen2"],
  [cased(`${CONTRACTIONS}?`, "\\p{N}{1,3}"), "gpt-4o"],
  [cased("", "\\p{N}"), "tekken"],
  [`digit\n${GPT2}`, "smollm"],
]);

/** Cuts as Qwen 2's and composes nothing; llama.cpp does both alike. */
const QWEN2 = "qwen2";
const UNCOMPOSED_QWEN2 = "deepseek-r1-qwen";

/** Other names that llama.cpp has for what cuts, joins and puts signs alike. */
const ALIASES: Readonly<Record<string, string>> = {
  llama3: "llama-bpe",
  "llama-v3": "llama-bpe",
  llama4: "gpt-4o",
  "phi-2": "gpt-2",
};

/** The name that tells whether text is composed, too, where there are two. */
export function carriedName(name: string, isComposed: boolean): string {
  return name === QWEN2 && !isComposed ? UNCOMPOSED_QWEN2 : name;
}

/** As Qwen's tokenizers have it, which only their name tells. */
export function normalizerOf(name: string): object | null {
  return name === QWEN2 ? { type: "NFC" } : null;
}

/** The first of the names that mean the same. Errors: `invalid_option` for none, since llama.cpp cuts otherwise then */
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

/** Those whose words are tokens without any merge, where they are in the vocabulary. */
export const IGNORES_MERGES: readonly string[] = ["llama-bpe", "tekken"];

/** Errors: `invalid_option` for steps that llama.cpp has no name for */
export function preTokenizerOf({ preTokenizers }: TokenizerJson): string {
  const isBytes = ({ type }: { type?: unknown }) => type === "ByteLevel";
  const last = preTokenizers.length - 1;
  if (preTokenizers.findIndex(isBytes) !== last || last < 0)
    throw notCarried(`the pre-tokenizers ${shown(preTokenizers.map(({ type }) => type))}`, "llama.cpp writes a text's bytes once, when it has cut it (a last step ByteLevel)"); // prettier-ignore
  if (preTokenizers[last]!.add_prefix_space === true)
    throw notCarried("`add_prefix_space` of ByteLevel", "llama.cpp puts no space before byte pairs"); // prettier-ignore
  const steps = preTokenizers.flatMap((step) => stepText(step) ?? []);
  const name = NAMES.get(steps.join("\n"));
  if (name !== undefined) return name;
  const known = [...new Set(NAMES.values())].join(", ");
  throw new AppError(
    "invalid_option",
    `Expected a pre-tokenizer that llama.cpp has, one of ${known}, got the steps ${JSON.stringify(preTokenizers)}`,
  );
}

/** The steps of a name, as a tokenizer.json has them. Errors: `invalid_option` for one that is none of these */
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

/** The expression that a step cuts by; undefined where it does not cut. */
function stepText(step: Readonly<Record<string, unknown>>): string | undefined {
  const { type, pattern, use_regex: usesRegex, behavior, invert } = step;
  if (type === "ByteLevel") return usesRegex === false ? undefined : GPT2;
  if (type === "Digits" && step.individual_digits === true) return "digit";
  if (
    type === "Split" &&
    isObject(pattern) &&
    typeof pattern.Regex === "string" &&
    // These patterns leave nothing of a text between two matches.
    (behavior === "Isolated" || (behavior === "Removed" && invert === true))
  )
    return pattern.Regex;
  return JSON.stringify(step);
}
