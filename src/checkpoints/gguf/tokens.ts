/** The vocabulary of a GGUF. */
import type { Pairs } from "./hyperparameters.ts";

/** llama.cpp's token types. */
export const TOKEN_TYPE = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

export type Token = { text: string; score: number; type: number };

export type Vocabulary = {
  /** By id; may have gaps. */
  tokens: readonly (Token | undefined)[];
  /** `tokenizer.ggml.model` and further keys besides the tokens. */
  pairs: Pairs;
  hasScores: boolean;
  /** Unknown characters are encoded as byte tokens. */
  fallsBack?: boolean;
};
