/** Special tokens and chat template, from the files beside a tokenizer. */
import { shown } from "../../api/option-kinds.ts";
import { isObject } from "../../api/json.ts";
import type { Folder } from "../read-heads.ts";
import { type Pairs, uint32 } from "./hyperparameters.ts";
import { templatePairs } from "./chat-templates.ts";
import { type Signs, signsAround } from "./carried-signs.ts";
import { notCarried } from "./not-carried.ts";
import { parsed, type TokenizerJson } from "./tokenizer-json.ts";

type Json = Readonly<Record<string, unknown>>;

const KEYS = {
  bos: "bos_token_id",
  eos: "eos_token_id",
  unk: "unknown_token_id",
  pad: "padding_token_id",
} as const;

/** Errors: `malformed_body`; `invalid_option` if other tokens than these are put around a text */
export async function specialPairs(
  folder: Folder,
  tokens: readonly { text: string }[],
  tokenizer: TokenizerJson | undefined,
  config: Json,
): Promise<Pairs> {
  const own = await jsonOf(folder, "tokenizer_config.json");
  const ids = new Map(tokens.map(({ text }, id) => [text, id]));
  const around: Signs = tokenizer ? signsAround(tokenizer) : {};
  const special = Object.entries(KEYS).flatMap(([name, key]) => {
    const put = around[name as keyof Signs];
    const id =
      ids.get(textOf(own[`${name}_token`])) ??
      numberOf(config[`${name}_token_id`]) ??
      (put === undefined ? undefined : ids.get(put));
    const isPut = put !== undefined && own[`add_${name}_token`] !== false;
    if (isPut && (id === undefined || tokens[id]?.text !== put))
      throw notCarried(
        `a post-processor that puts ${shown(put)} ${name === "bos" ? "before" : "behind"} a text`,
        `llama.cpp puts the ${name} token there, which is ${shown(id === undefined ? null : (tokens[id]?.text ?? id))}`,
      );
    if (id === undefined || id >= tokens.length) return [];
    return [[`tokenizer.ggml.${key}`, uint32(id)] as const];
  });
  const adds = addedBy(tokenizer && around, own);
  return [
    ...special,
    ...Object.entries(adds).map(
      ([name, boolean]) =>
        [`tokenizer.ggml.add_${name}_token`, { boolean }] as const,
    ),
    ...(await templatePairs(folder, own)),
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

/** The first of several, e.g. of several end tokens. */
function numberOf(id: unknown): number | undefined {
  const first: unknown = Array.isArray(id) ? id[0] : id;
  return typeof first === "number" && first >= 0 ? first : undefined;
}

/** Whether a text gets a first and a last token: as configured, or as the tokenizer's post-processor does. */
function addedBy(
  around: Signs | undefined,
  { add_bos_token: bos, add_eos_token: eos }: Json,
): Record<string, boolean> {
  return {
    ...(around && {
      bos: around.bos !== undefined,
      eos: around.eos !== undefined,
    }),
    ...(typeof bos === "boolean" ? { bos } : {}),
    ...(typeof eos === "boolean" ? { eos } : {}),
  };
}
