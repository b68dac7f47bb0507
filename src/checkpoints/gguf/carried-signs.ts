/** Signs around a text and tokens that are found in it, as a tokenizer.json has them and llama.cpp does too. */
import { isObject } from "../../api/json.ts";
import { shown } from "../../api/option-kinds.ts";
import { notCarried } from "./not-carried.ts";
import type { TokenizerJson } from "./tokenizer-json.ts";

type Step = Readonly<Record<string, unknown>>;

/** The texts of the signs before a text and behind it. */
export type Signs = { bos?: string; eos?: string };

/** Errors: `invalid_option` for what is not one sign before and one behind at most */
export function signsAround({ postProcessors }: TokenizerJson): Signs {
  // ByteLevel's changes where a token stands in the text, and no token.
  const steps = postProcessors.filter(({ type }) => type !== "ByteLevel");
  if (steps.length === 0) return {};
  const items = steps.length === 1 ? itemsOf(steps[0]!) : undefined;
  const at = items?.indexOf(TEXT) ?? -1;
  if (!items || at < 0 || at > 1 || items.length - at > 2)
    throw notCarried(`the post-processor ${shown(steps.length === 1 ? steps[0] : steps)}`, "llama.cpp puts one sign before a text and one behind it at most"); // prettier-ignore
  const [bos, eos] = [items[at - 1], items[at + 1]] as (string | undefined)[];
  return { ...(bos !== undefined && { bos }), ...(eos !== undefined && { eos }) }; // prettier-ignore
}

/** Where the text itself stands among signs. */
const TEXT = Symbol("text");

/** Undefined for a step that is none of these. */
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

/** Errors: `invalid_option` for an added token that llama.cpp finds elsewhere */
export function checkAdded({ added }: TokenizerJson): void {
  for (const token of added) {
    const rule = (["single_word", "lstrip", "rstrip"] as const).find(
      (key) => token[key] === true,
    );
    if (rule)
      throw notCarried(`\`${rule}\` of the added token ${shown(token.content)}`, "llama.cpp finds it wherever it stands, and leaves the spaces around it"); // prettier-ignore
  }
}

/** Errors: `invalid_option` for one that is looked for in a text that a normalizer has changed: llama.cpp looks before */
export function checkFoundBefore({ added, normalizers }: TokenizerJson): void {
  // Composing changes no sign of these, and spaces are written alike in both.
  const changed = normalizers.find(
    ({ type, pattern }) =>
      type !== "NFC" &&
      !(type === "Replace" && isObject(pattern) && pattern.String === " "),
  );
  const inside = added.find(
    ({ special = false, normalized = !special }) => normalized && !special,
  );
  if (changed && inside)
    throw notCarried(`the added token ${shown(inside.content)}, which is \`normalized\`, beside a normalizer ${shown(changed.type)}`, "llama.cpp looks for it in the text as it is", "take a tokenizer where it is not"); // prettier-ignore
}
