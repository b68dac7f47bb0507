/** What writing text knows of a tokenizer, whoever made it. */
export interface TextTokenizer {
  /** Ids are below it; some may have no token. */
  readonly vocabulary: number;
  encode(text: string): ArrayLike<number>;
  /** The bytes that each id stands for in a text; none where it is a sign that is not shown. */
  spelling(): (id: number) => Uint8Array;
}
