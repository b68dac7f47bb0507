/** The parts of a Hugging Face tokenizer.json from which a GGUF's vocabulary is made. */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import { isObject, MAX_JSON_LEVELS, parseJson } from "../../api/json.ts";

export const TOKENIZER_FILE = "tokenizer.json";

type Json = Readonly<Record<string, unknown>>;

type AddedToken = {
  id: number;
  content: string;
  special?: boolean;
  single_word?: boolean;
  lstrip?: boolean;
  rstrip?: boolean;
  normalized?: boolean;
};

export type TokenizerJson = {
  model: Json;
  /** Steps of each kind; sequences are flattened. */
  normalizers: readonly Json[];
  preTokenizers: readonly Json[];
  decoders: readonly Json[];
  postProcessors: readonly Json[];
  added: readonly AddedToken[];
};

/** Errors: `malformed_body` */
export function parseTokenizerJson(text: string): TokenizerJson {
  const json = parsed(text, TOKENIZER_FILE);
  const { model, added_tokens: added = [] } = json;
  if (!isObject(model))
    throw malformedTokenizer("an object `model`", shown(model));
  if (!Array.isArray(added) || !added.every(isAdded))
    throw malformedTokenizer(
      "`added_tokens` with `id` and `content`",
      "others",
    );
  return {
    model,
    normalizers: stepsOf(json.normalizer, "normalizers"),
    preTokenizers: stepsOf(json.pre_tokenizer, "pretokenizers"),
    decoders: stepsOf(json.decoder, "decoders"),
    postProcessors: stepsOf(json.post_processor, "processors"),
    added,
  };
}

/** Errors: `malformed_body` */
export function parsed(text: string, file: string): Json {
  try {
    const json = parseJson(text);
    if (isObject(json)) return json;
  } catch {
    // Reported below.
  }
  throw new AppError(
    "malformed_body",
    `Expected ${file} to be a JSON object of at most ${MAX_JSON_LEVELS} levels, got ${shown(text.slice(0, 40))}`,
  );
}

export function malformedTokenizer(expected: string, got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected ${TOKENIZER_FILE} to have ${expected}, got ${got}`,
  );
}

function isAdded(value: unknown): value is AddedToken {
  return (
    isObject(value) &&
    Number.isSafeInteger(value.id) &&
    typeof value.content === "string"
  );
}

function stepsOf(step: unknown, inside: string): Json[] {
  if (!isObject(step)) return [];
  const steps = step[inside];
  if (!Array.isArray(steps)) return [step];
  return steps.flatMap((each) => stepsOf(each, inside));
}

export function hasStep(steps: readonly Json[], type: string): boolean {
  return steps.some((step) => step.type === type);
}
