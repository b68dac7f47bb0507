/** Checks that llama.cpp treats special tokens around a text and added tokens in it the same way. */
import { isObject } from "../../api/json.ts";
import { shown } from "../../api/option-kinds.ts";
import { notCarried } from "./not-carried.ts";
import type { TokenizerJson } from "./tokenizer-json.ts";

type Step = Readonly<Record<string, unknown>>;

/** Texts of the tokens before and after a text. */
export type Signs = { bos?: string; eos?: string };

/** Errors: `invalid_option` for anything but at most one token before and one after */
export function signsAround({ postProcessors }: TokenizerJson): Signs {
  // ByteLevel changes offsets only, not tokens.
  const steps = postProcessors.filter(({ type }) => type !== "ByteLevel");
  if (steps.length === 0) return {};
  const items = steps.length === 1 ? itemsOf(steps[0]!) : undefined;
  const at = items?.indexOf(TEXT) ?? -1;
  if (!items || at < 0 || at > 1 || items.length - at > 2)
    throw notCarried(
      `the post-processor ${shown(steps.length === 1 ? steps[0] : steps)}`,
      "llama.cpp puts one sign before a text and one behind it at most",
    );
  const [bos, eos] = [items[at - 1], items[at + 1]] as (string | undefined)[];
  return {
    ...(bos !== undefined && { bos }),
    ...(eos !== undefined && { eos }),
  };
}

/** The position of the text in a template. */
const TEXT = Symbol("text");

/** Undefined for other kinds of steps. */
function itemsOf(step: Step): (string | typeof TEXT)[] | undefined {
  const { type, single, cls, sep } = step;
  if (type === "BertProcessing" || type === "RobertaProcessing") {
    const [before, behind] = [cls, sep].map((pair) =>
      Array.isArray(pair) ? String(pair[0]) : "",
    );
    return [before!, TEXT, behind!];
  }
  if (type !== "TemplateProcessing" || !Array.isArray(single)) return undefined;
  const signs = isObject(step.special_tokens) ? step.special_tokens : {};
  const items = single.map((item: unknown) => {
    if (!isObject(item)) return undefined;
    const { SpecialToken: sign, Sequence: text } = item;
    if (isObject(text)) return text.id === "A" ? TEXT : undefined;
    if (!isObject(sign)) return undefined;
    const own = signs[String(sign.id)];
    const texts: unknown = isObject(own) ? own.tokens : undefined;
    if (!Array.isArray(texts)) return String(sign.id);
    return texts.length === 1 ? String(texts[0]) : undefined;
  });
  return items.every((item) => item !== undefined) ? items : undefined;
}

/** Errors: `invalid_option` for an added token that llama.cpp would find at other places */
export function checkAdded({ added }: TokenizerJson): void {
  for (const token of added) {
    const rule = (["single_word", "lstrip", "rstrip"] as const).find(
      (key) => token[key] === true,
    );
    if (rule)
      throw notCarried(
        `\`${rule}\` of the added token ${shown(token.content)}`,
        "llama.cpp finds it wherever it stands, and leaves the spaces around it",
      );
  }
}

/**
 * llama.cpp finds added tokens before normalizing. Errors: `invalid_option` for a token that is found after a
 * normalizer that matters
 */
export function checkFoundBefore({ added, normalizers }: TokenizerJson): void {
  // NFC does not change such tokens, and replacing spaces changes token and text alike.
  const changed = normalizers.find(
    ({ type, pattern }) =>
      type !== "NFC" &&
      !(type === "Replace" && isObject(pattern) && pattern.String === " "),
  );
  const inside = added.find(
    ({ special = false, normalized = !special }) => normalized && !special,
  );
  if (changed && inside)
    throw notCarried(
      `the added token ${shown(inside.content)}, which is \`normalized\`, beside a normalizer ${shown(changed.type)}`,
      "llama.cpp looks for it in the text as it is",
      "take a tokenizer where it is not",
    );
}
