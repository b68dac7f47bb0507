/**
 * A foreign byte-level BPE with GPT-2's split, computed by this project's `Bpe`: ids are mapped, and added tokens are
 * found before the text is split. It takes a tenth of the memory of @huggingface/tokenizers, so that a GPT-2 fits into
 * an isolate together with its tokenizer.
 */
import { isObject, parsedObject } from "../api/json.ts";
import { Bpe, BYTE_VOCABULARY, MAX_VOCABULARY, type Merge } from "./bpe.ts";
import { BYTE_CHARACTERS, nameBytes } from "./byte-level.ts";
import {
  type AddedToken,
  type TokenizerFile,
  type TokenizerPart,
  typedModel,
} from "./foreign-parts.ts";
import type { TextTokenizer } from "./text-tokenizer.ts";

/** Above the vocabulary of any tokenizer. */
const MAX_IDS = 2 ** 20;
const NONE = new Uint8Array(0);
const utf8 = new TextEncoder();

/** Undefined for any other kind of tokenizer.json, which `ForeignTokenizer` reads or rejects. */
export function renumberedBpe(json: string): TextTokenizer | undefined {
  const file = parsedObject(json) as TokenizerFile | undefined;
  if (!file || !isPlain(file)) return undefined;
  const { vocab, merges } = file.model as unknown as Model;
  const internal = new Map<string, number>();
  const numbers: number[] = [];
  const add = (name: string): boolean => {
    const isNew = Object.hasOwn(vocab, name) && !internal.has(name);
    if (isNew) internal.set(name, numbers.push(vocab[name]!) - 1);
    return isNew;
  };
  if (!BYTE_CHARACTERS.every(add)) return undefined;
  const pairs: Merge[] = [];
  for (const merge of merges) {
    if (typeof merge !== "string" && !Array.isArray(merge)) return undefined;
    const [left, right, ...more] =
      typeof merge === "string" ? merge.split(" ") : merge;
    const [one, other] = [left, right].map((name) => internal.get(name!));
    // A merge of tokens that only later merges produce, or whose token another merge produces too, has no id of its
    // own.
    if (one === undefined || other === undefined || more.length > 0)
      return undefined;
    if (!add(left! + right!)) return undefined;
    pairs.push([one, other]);
  }
  if (numbers.length > MAX_VOCABULARY) return undefined;
  return new RenumberedBpe(new Bpe(pairs), numbers, internal, file);
}

type Model = {
  vocab: Record<string, number>;
  merges: readonly (string | readonly string[])[];
};

function isPlain(file: TokenizerFile): boolean {
  const { normalizer, pre_tokenizer: step, post_processor: signs } = file;
  const { decoder, added_tokens: added = [] } = file;
  const model = typedModel(file.model);
  const isByteLevel = (part: TokenizerPart | null | undefined) =>
    part?.type === "ByteLevel";
  if (!isByteLevel(step) || step!.add_prefix_space !== false) return false;
  if (step!.use_regex === false || !isByteLevel(decoder)) return false;
  if ((normalizer ?? null) !== null) return false;
  if ((signs ?? null) !== null && !isByteLevel(signs)) return false;
  const rules = ["single_word", "lstrip", "rstrip"] as const;
  if (added.some((token) => rules.some((rule) => token[rule]))) return false;
  if (added.some(({ content }) => typeof content !== "string")) return false;
  const others = [
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
  ];
  if (model.type !== "BPE" || others.some((key) => model[key])) return false;
  const { vocab, merges } = model;
  if (!isObject(vocab) || !Array.isArray(merges)) return false;
  const ids = [...Object.values(vocab), ...added.map(({ id }) => id)];
  return ids.every((id) => Number.isSafeInteger(id) && isBelow(id as number));
}

/** `#ids` has an entry for each id up to the last. */
function isBelow(id: number): boolean {
  return id >= 0 && id < MAX_IDS;
}

class RenumberedBpe implements TextTokenizer {
  readonly vocabulary: number;
  readonly #bpe: Bpe;
  /** Foreign id of each internal id. */
  readonly #numbers: Uint32Array;
  /** Internal id + 1 of each foreign id; 0 if it has none. */
  readonly #ids: Uint32Array;
  readonly #added: readonly AddedToken[];
  /** Bytes of tokens that no merge produces, and of added tokens. */
  readonly #others = new Map<number, Uint8Array>();

  /** `internal`: names and internal ids of all tokens of `bpe`. */
  constructor(
    bpe: Bpe,
    numbers: readonly number[],
    internal: ReadonlyMap<string, number>,
    { added_tokens: added = [], model }: TokenizerFile,
  ) {
    this.#bpe = bpe;
    this.#numbers = Uint32Array.from(numbers);
    // The longest match comes first.
    this.#added = added
      .filter(({ content }) => content !== "")
      .toSorted((a, b) => b.content.length - a.content.length);
    const { vocab } = model as unknown as Model;
    let last = -1;
    for (const name of Object.keys(vocab)) {
      const number = vocab[name]!;
      last = Math.max(last, number);
      if (!internal.has(name)) this.#others.set(number, nameBytes(name));
    }
    for (const { id, content, special } of this.#added) {
      last = Math.max(last, id);
      this.#others.set(id, special ? NONE : utf8.encode(content));
    }
    this.vocabulary = last + 1;
    this.#ids = new Uint32Array(this.vocabulary);
    for (const [id, number] of numbers.entries()) this.#ids[number] = id + 1;
  }

  encode(text: string): number[] {
    const ids: number[] = [];
    let plain = 0;
    const cut = (end: number): void => {
      for (const id of this.#bpe.encode(text.slice(plain, end)))
        ids.push(this.#numbers[id]!);
    };
    for (let at = 0; at < text.length;) {
      const token = this.#added.find(({ content }) =>
        text.startsWith(content, at),
      );
      if (!token) {
        at++;
        continue;
      }
      cut(at);
      ids.push(token.id);
      at += token.content.length;
      plain = at;
    }
    cut(text.length);
    return ids;
  }

  spelling(): (id: number) => Uint8Array {
    return (number) => {
      const id = this.#ids[number];
      return (
        this.#others.get(number) ??
        (id ? Uint8Array.from(this.#bytes(id - 1)) : NONE)
      );
    };
  }

  #bytes(id: number): number[] {
    if (id < BYTE_VOCABULARY) return [id];
    const [left, right] = this.#bpe.merges[id - BYTE_VOCABULARY]!;
    return [...this.#bytes(left), ...this.#bytes(right)];
  }
}
