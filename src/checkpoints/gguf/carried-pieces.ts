/**
 * Checks that llama.cpp treats the steps around SentencePiece models the same way. It has two flags: `add_space_prefix`
 * puts a space before a text and after every special token, even before another space; `remove_extra_whitespaces`, for
 * Unigram only, strips spaces at both ends and collapses repeated ones. It does not split words at spaces.
 */
import { isObject } from "../../api/json.ts";
import { shown } from "../../api/option-kinds.ts";
import { checkDecoders, checkJoins } from "./carried-models.ts";
import { notCarried } from "./not-carried.ts";
import type { TokenizerJson } from "./tokenizer-json.ts";

type Step = Readonly<Record<string, unknown>>;

const SPACE = "▁";
const REMEDY = "put SentencePiece's own file, tokenizer.model, beside it";

/** Handling of spaces; `charsmap` in base64. */
export type Spaces = { prefix: boolean; collapses: boolean; charsmap?: string };

/** For BPE with byte fallback. Errors: `invalid_option` for a part that a GGUF cannot represent */
export function bytePairSpaces(tokenizer: TokenizerJson): Spaces {
  const { normalizers, preTokenizers, model } = tokenizer;
  checkJoins(model);
  if (model.ignore_merges === true)
    throw notCarried(
      "`ignore_merges` true of a model with a fall-back to bytes",
      "llama.cpp joins its pieces by their merges alone",
    );
  checkDecoders(tokenizer, [
    "Replace",
    "ByteFallback",
    "Fuse",
    "Strip",
    "Metaspace",
  ]);
  const written = normalizers.findIndex(writesSpaces);
  const prepends = normalizers.findIndex(({ type }) => type === "Prepend");
  for (const [at, step] of normalizers.entries()) {
    const isPrefix =
      at === prepends &&
      (step.prepend === SPACE || (step.prepend === " " && at < written));
    if (at !== written && !isPrefix) throw untakenNormalizer(step);
  }
  const metaspace = preTokenizers.filter(isMetaspace);
  for (const step of preTokenizers) {
    if (isMetaspace(step)) checkMetaspace(step, tokenizer);
    else if (!(written >= 0 && cutsAtSpaces(step))) throw untakenStep(step);
    if (isMetaspace(step) && prefixOf(step) !== "never")
      throw notCarried(
        `a Metaspace that puts a ${SPACE} before a text (${shown(prefixOf(step))})`,
        "llama.cpp also puts one before a text that begins with a space, and behind every sign",
        REMEDY,
      );
  }
  if (written < 0 && metaspace.length === 0)
    throw notCarried(
      `no step that writes spaces as ${SPACE}`,
      "llama.cpp writes them so",
    );
  return { prefix: prepends >= 0, collapses: false };
}

/** For Unigram. Errors: `invalid_option` for a part that a GGUF cannot represent */
export function unigramSpaces(tokenizer: TokenizerJson): Spaces {
  const { normalizers, preTokenizers, model } = tokenizer;
  if (model.byte_fallback === true)
    throw notCarried(
      "`byte_fallback` of a Unigram",
      "llama.cpp makes its unknown token of what no piece has",
    );
  checkDecoders(tokenizer, ["Replace", "Fuse", "Strip", "Metaspace"]);
  const [first] = normalizers;
  const charsmap =
    first?.type === "Precompiled" ? first.precompiled_charsmap : undefined;
  const rest = normalizers.slice(first?.type === "Precompiled" ? 1 : 0);
  for (const step of rest)
    if (!isRepeated(step) && step.type !== "Strip")
      throw untakenNormalizer(step);
  const at = preTokenizers.findIndex(isMetaspace);
  const step = preTokenizers[at];
  const others = preTokenizers.filter((_, i) => i !== at);
  const isSplit = others[0]?.type === "WhitespaceSplit" && at === 1;
  const untaken = others[isSplit ? 1 : 0];
  if (untaken !== undefined) throw untakenStep(untaken);
  if (step === undefined)
    throw notCarried(
      `no Metaspace that writes spaces as ${SPACE}`,
      "llama.cpp writes them so",
    );
  checkMetaspace(step, tokenizer);
  const scheme = prefixOf(step);
  const collapses =
    isSplit ||
    (rest.some(isRepeated) &&
      rest.some(({ type, strip_right: right }) => type === "Strip" && right));
  const isTaken =
    scheme === "always"
      ? collapses
      : scheme === "never" && !isSplit && rest.length === 0;
  if (!isTaken)
    throw notCarried(
      `a Metaspace of \`prepend_scheme\` ${shown(scheme)} ${isSplit ? "behind WhitespaceSplit" : `beside the normalizers ${shown(rest.map(({ type }) => type))}`}`,
      "llama.cpp either takes all spaces at both ends and those that repeat and puts one in front, or leaves all as they are",
      REMEDY,
    );
  return {
    prefix: scheme === "always",
    collapses,
    ...(typeof charsmap === "string" ? { charsmap } : {}),
  };
}

function isMetaspace({ type }: Step): boolean {
  return type === "Metaspace";
}

/** Older files have `add_prefix_space` instead. */
function prefixOf({ prepend_scheme: scheme, add_prefix_space: adds }: Step) {
  return scheme ?? (adds === false ? "never" : "always");
}

function checkMetaspace(step: Step, { model }: TokenizerJson): void {
  const { replacement = SPACE, split: cuts = true } = step;
  if (replacement !== SPACE)
    throw notCarried(
      `a Metaspace of \`replacement\` ${shown(replacement)}`,
      `llama.cpp has ${SPACE} alone`,
    );
  if (!cuts) return;
  const { vocab } = model;
  const pieces: unknown[] = Array.isArray(vocab)
    ? vocab.map((each: unknown) => (Array.isArray(each) ? each[0] : each))
    : Object.keys(isObject(vocab) ? vocab : {});
  const across = pieces.find(
    (piece) => typeof piece === "string" && piece.includes(SPACE, 1),
  );
  if (across !== undefined)
    throw notCarried(
      `a Metaspace of \`split\` beside the piece ${shown(across)}`,
      "llama.cpp cuts no words, and finds it in a text",
    );
}

/** Replaces spaces by SentencePiece's symbol. */
export function writesSpaces({ type, pattern, content }: Step): boolean {
  return (
    type === "Replace" &&
    isObject(pattern) &&
    pattern.String === " " &&
    content === SPACE
  );
}

/** Collapses repeated spaces. */
function isRepeated({ type, pattern, content }: Step): boolean {
  return (
    type === "Replace" &&
    isObject(pattern) &&
    pattern.Regex === " {2,}" &&
    (content === " " || content === SPACE)
  );
}

/** Gemma's; without effect once spaces have been replaced. */
function cutsAtSpaces({ type, pattern }: Step): boolean {
  return type === "Split" && isObject(pattern) && pattern.String === " ";
}

function untakenNormalizer(step: Step) {
  return notCarried(
    `a normalizer ${shown(step)}`,
    "llama.cpp does not do that to a text",
    REMEDY,
  );
}

function untakenStep(step: Step) {
  return notCarried(
    `a pre-tokenizer ${shown(step)}`,
    "llama.cpp does not cut SentencePiece's texts by it",
  );
}
