/** Which tokens begin and end a text, and how a conversation is written: of the files beside a tokenizer. */
import { isObject } from "../../api/json.ts";
import type { Folder } from "../read-heads.ts";
import { type Pairs, uint32 } from "./hyperparameters.ts";
import { parsed, type TokenizerJson } from "./tokenizer-json.ts";

type Json = Readonly<Record<string, unknown>>;

const KEYS = {
  bos: "bos_token_id",
  eos: "eos_token_id",
  unk: "unknown_token_id",
  pad: "padding_token_id",
} as const;

/** Errors: `malformed_body` */
export async function specialPairs(
  folder: Folder,
  tokens: readonly { text: string }[],
  tokenizer: TokenizerJson | undefined,
  config: Json,
): Promise<Pairs> {
  const own = await jsonOf(folder, "tokenizer_config.json");
  const ids = new Map(tokens.map(({ text }, id) => [text, id]));
  const special = Object.entries(KEYS).flatMap(([name, key]) => {
    const id =
      ids.get(textOf(own[`${name}_token`])) ??
      numberOf(config[`${name}_token_id`]);
    if (id === undefined || id >= tokens.length) return [];
    return [[`tokenizer.ggml.${key}`, uint32(id)] as const];
  });
  const adds = addedBy(tokenizer, own);
  const template =
    own.chat_template ?? (await folder.text("chat_template.jinja"));
  return [
    ...special,
    ...Object.entries(adds).map(
      ([name, boolean]) =>
        [`tokenizer.ggml.add_${name}_token`, { boolean }] as const,
    ),
    ...(typeof template === "string"
      ? ([["tokenizer.chat_template", { string: template }]] as const)
      : []),
  ];
}

async function jsonOf(folder: Folder, name: string): Promise<Json> {
  const text = await folder.text(name);
  return text === undefined ? {} : parsed(text, name);
}

/** `"<s>"`, or `{"content": "<s>"}`. */
function textOf(token: unknown): string {
  const text = isObject(token) ? token.content : token;
  return typeof text === "string" ? text : "";
}

/** The first of several, as of a model that ends in either. */
function numberOf(id: unknown): number | undefined {
  const first: unknown = Array.isArray(id) ? id[0] : id;
  return typeof first === "number" && first >= 0 ? first : undefined;
}

/** Whether a text gets a first token and a last one: as told, or as the tokenizer's template has it. */
function addedBy(
  tokenizer: TokenizerJson | undefined,
  { add_bos_token: bos, add_eos_token: eos }: Json,
): Record<string, boolean> {
  const template = tokenizer?.postProcessors.find(
    ({ type }) => type === "TemplateProcessing",
  )?.single;
  const items: unknown[] = Array.isArray(template) ? template : [];
  const isSpecial = (item: unknown) => isObject(item) && "SpecialToken" in item;
  const byTemplate = tokenizer && {
    bos: isSpecial(items[0]),
    eos: items.length > 1 && isSpecial(items.at(-1)),
  };
  return {
    ...byTemplate,
    ...(typeof bos === "boolean" ? { bos } : {}),
    ...(typeof eos === "boolean" ? { eos } : {}),
  };
}
