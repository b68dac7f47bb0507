/** The interface of text generation to any tokenizer. */
export interface TextTokenizer {
  /** Ids are below it; not all need to have a token. */
  readonly vocabulary: number;
  encode(text: string): ArrayLike<number>;
  /** Maps an id to its bytes in a text; none for a special token, which is not shown. */
  spelling(): (id: number) => Uint8Array;
}
