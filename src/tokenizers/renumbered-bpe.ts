/**
 * A byte-level BPE of others that cuts words as GPT-2 does, by this project's own merging: its tokens have other numbers, and
 * signs are found in a text before it is cut. It holds a tenth of what Hugging Face's reader does, so that a GPT-2 has room in an
 * isolate with its tokenizer.
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

/** More than any tokenizer has. */
const MAX_IDS = 2 ** 20;
const NONE = new Uint8Array(0);
const utf8 = new TextEncoder();

/** Undefined of a tokenizer.json of any other kind, whose reader says what is wrong with it. */
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
    const [left, right, ...more] = typeof merge === "string" ? merge.split(" ") : merge; // prettier-ignore
    const [one, other] = [left, right].map((name) => internal.get(name!));
    // One of tokens that come later, or of a token that another merge makes too, would have no number of its own.
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
  const others = ["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"]; // prettier-ignore
  if (model.type !== "BPE" || others.some((key) => model[key])) return false;
  const { vocab, merges } = model;
  if (!isObject(vocab) || !Array.isArray(merges)) return false;
  const ids = [...Object.values(vocab), ...added.map(({ id }) => id)];
  return ids.every((id) => Number.isSafeInteger(id) && isBelow(id as number));
}

/** There is an entry for each number up to the last. */
function isBelow(id: number): boolean {
  return id >= 0 && id < MAX_IDS;
}

class RenumberedBpe implements TextTokenizer {
  readonly vocabulary: number;
  readonly #bpe: Bpe;
  /** The number of each of its ids. */
  readonly #numbers: Uint32Array;
  /** And one more than the id of each number, where it has one. */
  readonly #ids: Uint32Array;
  readonly #added: readonly AddedToken[];
  /** The bytes of what no merge makes, and of signs. */
  readonly #others = new Map<number, Uint8Array>();

  /** `internal` has the names of all ids. */
  constructor(
    bpe: Bpe,
    numbers: readonly number[],
    internal: ReadonlyMap<string, number>,
    { added_tokens: added = [], model }: TokenizerFile,
  ) {
    this.#bpe = bpe;
    this.#numbers = Uint32Array.from(numbers);
    // The longest first, of those that begin at one place.
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
      const sign = this.#added.find(({ content }) => text.startsWith(content, at)); // prettier-ignore
      if (!sign) {
        at++;
        continue;
      }
      cut(at);
      ids.push(sign.id);
      at += sign.content.length;
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
