/**
 * llama.cpp's rules for special tokens that a GGUF's keys do not state: default ids for begin and end of text, further
 * tokens that end a text, and texts that are special tokens whatever their type. Source: its src/llama-vocab.cpp
 */
import { TOKEN_TYPE } from "../gguf/tokens.ts";
import type { GgufKeys } from "./keys.ts";

const PREFIX = "tokenizer.ggml.";
/** Default ids by the kind of tokenizer. */
const UNTOLD: Readonly<Record<string, { bos: number; eos: number }>> = {
  gpt2: { bos: 11, eos: 11 },
  llama: { bos: 1, eos: 2 },
};

/** Texts of tokens that end a text or a turn. */
const ENDINGS = [
  "<|eot_id|>",
  "<|im_end|>",
  "<|end|>",
  "<|return|>",
  "<|call|>",
  "<|flush|>",
  "<|calls|>",
  "<end_of_turn>",
  "<|endoftext|>",
  "</s>",
  "<|eom_id|>",
  "<EOT>",
  "_<EOT>",
  "[EOT]",
  "[EOS]",
  "<|end_of_text|>",
  "<end_of_utterance>",
  "<eos>",
  "<turn|>",
  "<|tool_response>",
  "<｜end▁of▁sentence｜>",
  "[e~[",
];
/** Fill-in-the-middle tokens, by the key that may state their id; the last three end a text. */
const GAPS = {
  fim_pre: ["<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>", "<|prefix|>"], // prettier-ignore
  fim_suf: ["<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>"], // prettier-ignore
  fim_mid: ["<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>"], // prettier-ignore
  fim_pad: ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
  fim_rep: [
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
  ],
  fim_sep: ["<|file_sep|>"],
} as const;
const ENDING_GAPS: readonly string[] = ["fim_pad", "fim_rep", "fim_sep"];
/** gpt-oss' tokens that are shown as text. */
const WRITTEN = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

export type GgufSigns = {
  /** Undefined if there is no such token. */
  bos: number | undefined;
  eos: number | undefined;
  /** Ids, ascending. */
  endings: readonly number[];
  /** Token types that override the file's. */
  types: ReadonlyMap<number, number>;
};

/** `texts`: of all tokens. Errors: `malformed_body` */
export function signsOfGguf(
  keys: GgufKeys,
  texts: readonly string[],
): GgufSigns {
  const ids = new Map(texts.map((text, id) => [text, id]));
  const told = (name: string, untold?: number): number | undefined => {
    const id = keys.number(`${PREFIX}${name}_token_id`);
    return [id, untold].find(
      (each) => each !== undefined && each < texts.length,
    );
  };
  const untold = UNTOLD[keys.text(`${PREFIX}model`) ?? ""];
  const [bos, eos] = [told("bos", untold?.bos), told("eos", untold?.eos)];
  const types = new Map<number, number>();
  const endings = new Set<number>();
  const find = (text: string): number | undefined => {
    const id = ids.get(text);
    if (id !== undefined) types.set(id, TOKEN_TYPE.control);
    return id;
  };
  const end = (id: number | undefined): void => {
    if (id !== undefined) endings.add(id);
  };
  for (const [name, others] of Object.entries(GAPS)) {
    const own = told(name);
    const found = own === undefined ? others.map(find) : [own];
    if (ENDING_GAPS.includes(name)) found.forEach(end);
  }
  for (const text of ENDINGS) end(find(text));
  for (const id of [eos, told("eot"), told("eom")]) end(id);
  const has = (text: string) => endings.has(ids.get(text) ?? -1);
  const notEnding = (text: string, type: number): void => {
    endings.delete(ids.get(text)!);
    types.set(ids.get(text)!, type);
  };
  const isCalled = has("<|call|>") || has("<|calls|>");
  const isAnswered = has("<|return|>") || has("<|flush|>");
  if (has("<|end|>") && isCalled && isAnswered)
    notEnding("<|end|>", TOKEN_TYPE.userDefined);
  if (has("<|tool_response>") && has("</s>"))
    notEnding("</s>", TOKEN_TYPE.normal);
  for (const text of WRITTEN)
    if (ids.has(text)) types.set(ids.get(text)!, TOKEN_TYPE.userDefined);
  return { bos, eos, endings: [...endings].sort((a, b) => a - b), types };
}
