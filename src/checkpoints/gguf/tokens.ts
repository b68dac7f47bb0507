/** A vocabulary as a GGUF has it. */
import type { Pairs } from "./hyperparameters.ts";

/** What a token is to llama.cpp. */
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
  /** By id; there may be gaps. */
  tokens: readonly (Token | undefined)[];
  /** `tokenizer.ggml.model`, and what it needs beside its tokens. */
  pairs: Pairs;
  hasScores: boolean;
  /** What no piece has is bytes. */
  fallsBack?: boolean;
};
