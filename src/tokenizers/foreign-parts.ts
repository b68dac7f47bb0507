/**
 * Rewrites a foreign tokenizer.json so that the JavaScript library (@huggingface/tokenizers, "the reader") tokenizes
 * exactly as the Rust library does. Where the two differ, a part is replaced by equivalent parts that the reader
 * computes correctly, or rejected by name if there are none: different tokens are a different prompt.
 */
import { missingBytes } from "../checkpoints/gguf/carried-bytes.ts";
import { AppError } from "../api/errors.ts";
import { shown } from "../api/option-kinds.ts";
import { once } from "../api/once.ts";
import { CLASSES } from "./character-classes.ts";
import { categoryClass } from "./general-categories.ts";

export type TokenizerPart = Readonly<Record<string, unknown>>;

export type AddedToken = {
  id: number;
  content: string;
  special?: boolean;
  normalized?: boolean;
  single_word?: boolean;
  lstrip?: boolean;
  rstrip?: boolean;
};

export type TokenizerFile = {
  added_tokens?: AddedToken[];
  normalizer?: TokenizerPart | null;
  pre_tokenizer?: TokenizerPart | null;
  post_processor?: TokenizerPart | null;
  decoder?: TokenizerPart | null;
  model?: TokenizerPart;
};

/** Errors: `malformed_body` for an unsupported part */
export function exactParts(file: TokenizerFile): TokenizerFile {
  const { added_tokens: added = [], decoder = null } = file;
  const model = typedModel(file.model);
  const steps = partsInOrder(file.pre_tokenizer ?? null, "pretokenizers");
  const normalizer = exactNormalizer(file.normalizer ?? null);
  const pretokenizers = steps.flatMap(exactStep);
  checkModel(model, steps);
  checkDecoder(decoder);
  checkAdded(added);
  checkFirst(steps, normalizer, added);
  return {
    ...file,
    added_tokens: added,
    normalizer,
    pre_tokenizer: { type: "Sequence", pretokenizers },
    post_processor: file.post_processor ?? null,
    decoder,
    model,
  };
}

/** Adds the `type` that old files, as GPT-2's own, lack. */
export function typedModel(model: TokenizerPart = {}): TokenizerPart {
  if ("type" in model) return model;
  if ("merges" in model) return { type: "BPE", ...model };
  return Array.isArray(model.vocab) ? { type: "Unigram", ...model } : model;
}

function checkModel(
  model: TokenizerPart,
  steps: readonly TokenizerPart[],
): void {
  const { type, byte_fallback: fallsBack, unk_token: unknown } = model;
  if (type !== "BPE" && type !== "Unigram")
    throw unread("of a BPE or a Unigram", shown(type ?? null));
  const unlike = [
    "dropout",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    ...(type === "Unigram" ? ["byte_fallback"] : []),
  ].find((key) => model[key]);
  if (unlike)
    throw notRead(`a ${type} with \`${unlike}\` ${shown(model[unlike])}`);
  const isBytes = steps.some((step) => step.type === "ByteLevel");
  if (type === "BPE" && !isBytes && !fallsBack && (unknown ?? null) === null)
    throw notRead(
      "a BPE without ByteLevel, `byte_fallback` or `unk_token` for what no piece has",
    );
  if (type !== "BPE" || isBytes || !fallsBack || (unknown ?? null) !== null)
    return;
  const [missing] = missingBytes(new Set(Object.keys(model.vocab ?? {})));
  if (missing !== undefined)
    throw notRead(
      `a BPE with \`byte_fallback\` without ${missing}, nor \`unk_token\` for what no piece has`,
    );
}

const DECODERS = ["ByteLevel", "ByteFallback", "Fuse", "Strip", "Metaspace"];

function checkDecoder(decoder: TokenizerPart | null): void {
  for (const part of partsInOrder(decoder, "decoders")) {
    const { type, content, pattern } = part;
    const isSpace = (pattern as TokenizerPart | undefined)?.String === "▁";
    if (type === "Replace" ? isSpace && content === " " : isOf(DECODERS, type))
      continue;
    // If the decoder is no Sequence, `bytesOf` reports what it must be.
    if (decoder!.type === "Sequence")
      throw notRead(`a decoder's ${named(part)}`);
  }
}

function checkAdded(added: readonly AddedToken[]): void {
  const word = added.find(({ single_word: isWord }) => isWord);
  if (word) throw notRead(`${shown(word.content)} of \`single_word\``);
}

const FORMS = ["NFC", "NFD", "NFKC", "NFKD", "Prepend"];

function exactNormalizer(part: TokenizerPart | null): TokenizerPart | null {
  if (part === null) return null;
  const { type } = part;
  if (isOf(FORMS, type)) return part;
  switch (type) {
    case "Sequence":
      return {
        type,
        normalizers: partsInOrder(part, "normalizers").map(exactNormalizer),
      };
    case "Replace":
      // The reader would interpret `$` as a replacement pattern.
      return { ...part, content: String(part.content).replaceAll("$", "$$$$") };
    case "Strip": {
      const ends = [
        ...(part.strip_left ? ["\\A\\s+"] : []),
        ...(part.strip_right ? ["\\s+\\z"] : []),
      ];
      const rest = { type: "Replace", content: "" };
      return {
        type: "Sequence",
        normalizers: ends.map((Regex) => ({ ...rest, pattern: { Regex } })),
      };
    }
    default:
      throw notRead(`a normalizer's ${named(part)}`, [
        ...FORMS,
        "Replace",
        "Strip",
      ]);
  }
}

/**
 * `prepend_scheme` "first" puts a space before the first word only. The reader decides by the words' position, which is
 * wrong behind other steps and beside normalized added tokens.
 */
function checkFirst(
  steps: readonly TokenizerPart[],
  normalizer: TokenizerPart | null,
  added: readonly AddedToken[],
): void {
  const isFirst = ({ type, prepend_scheme: scheme }: TokenizerPart): boolean =>
    type === "Metaspace" && scheme === "first";
  const at = steps.findIndex(isFirst);
  if (at < 0) return;
  const what = 'Metaspace of `prepend_scheme` "first"';
  if (at > 0) throw notRead(`${what} behind ${shown(steps[0]!.type)}`);
  const inside = added.find(
    ({ special, normalized = !special }) => normalized && normalizer !== null,
  );
  if (inside)
    throw notRead(
      `${what} beside ${shown(inside.content)}, which is normalized`,
    );
}

/** Equivalent steps that the reader computes correctly. */
function exactStep(part: TokenizerPart): TokenizerPart[] {
  switch (part.type) {
    case "ByteLevel":
      return [part];
    case "WhitespaceSplit":
      return [split("\\s+", "Removed")];
    case "Digits":
      return [
        split(part.individual_digits ? digit() : `${digit()}+`, "Isolated"),
      ];
    case "Metaspace":
      return metaspace(part);
    case "Split": {
      const { behavior, pattern } = part;
      const pinned = {
        ...part,
        pattern: pinnedPattern(pattern as TokenizerPart),
      };
      if (behavior === "Isolated") return [{ ...pinned, invert: false }];
      if (behavior === "Removed") return [pinned];
      throw notRead(`a Split of \`behavior\` ${shown(behavior)}`, [
        "Isolated",
        "Removed",
      ]);
    }
    default:
      throw notRead(`a pre-tokenizer's ${named(part)}`, STEPS);
  }
}

const STEPS = ["ByteLevel", "Digits", "Metaspace", "Split", "WhitespaceSplit"];
const digit = once(() => `[${CLASSES.digits()}]`);

/** The reader inserts the replacement character, but does not split at it. */
function metaspace(part: TokenizerPart): TokenizerPart[] {
  const {
    replacement = "▁",
    split: cuts = true,
    prepend_scheme: scheme,
  } = part;
  if (part.add_prefix_space === false && scheme !== "never")
    throw notRead("Metaspace of `add_prefix_space` without `prepend_scheme`");
  if (!cuts) return [part];
  const space = `\\x{${String(replacement).codePointAt(0)!.toString(16)}}`;
  return [part, split(`${space}[^${space}]*|[^${space}]+`, "Isolated")];
}

function split(Regex: string, behavior: "Isolated" | "Removed"): TokenizerPart {
  return { type: "Split", pattern: { Regex }, behavior, invert: false };
}

/** Replaces \p{…} and \d, inside and outside of character classes, by the ranges of Unicode 16. */
function pinnedPattern(pattern: TokenizerPart): TokenizerPart {
  if (typeof pattern.Regex !== "string") return pattern;
  let depth = 0;
  const Regex = pattern.Regex.replace(
    /\\([pP])\{(\w+)\}|\\[^]|[[\]]/g,
    (sign, kind: string | undefined, name: string) => {
      if (sign === "[") depth++;
      if (sign === "]") depth = Math.max(depth - 1, 0);
      const isDigit = /^\\[dD]$/.test(sign);
      if (kind === undefined && !isDigit) return sign;
      const isNegated = kind === "P" || sign === "\\D";
      const ranges = categoryClass(isDigit ? "Nd" : name, isNegated);
      if (ranges === undefined) return sign;
      return depth > 0 ? ranges : `[${ranges}]`;
    },
  );
  return { Regex };
}

/** The part itself, or all parts of a (nested) Sequence. */
export function partsInOrder(
  part: TokenizerPart | null,
  key: string,
): TokenizerPart[] {
  if (part === null) return [];
  if (part.type !== "Sequence") return [part];
  return ((part[key] ?? []) as TokenizerPart[]).flatMap((each) =>
    partsInOrder(each, key),
  );
}

function isOf(names: readonly string[], type: unknown): boolean {
  return typeof type === "string" && names.includes(type);
}

function named({ type, pattern }: TokenizerPart): string {
  return pattern === undefined
    ? shown(type)
    : `${shown(type)} of ${shown(pattern)}`;
}

function notRead(got: string, read?: readonly string[]): AppError {
  const known = read ? `; ${read.join(", ")} are read` : "";
  return unread("that is read here", `${got}${known}`);
}

export function unread(expected: string, got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected a tokenizer.json ${expected}, got ${got}`,
  );
}
