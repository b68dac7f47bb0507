/** The JSON of text that a model writes. */

/** How a text is written, and from what weights. */
export type GenerateRequest = {
  prompt: string;
  maxTokens?: number | undefined;
  weights?: "f32" | "mxfp4" | undefined;
  temperature?: number | undefined;
  topK?: number | undefined;
  topP?: number | undefined;
  repetition?: number | undefined;
  stop?: string[] | undefined;
  seed?: number | undefined;
};

/** Why a text ended, and of how many tokens it and its prompt are. */
export type TextEnding = {
  reason: "length" | "stop";
  promptTokens: number;
  tokens: number;
};

/** What the stream of events tells: a piece of text, or the end. */
export type TextEvent = { text: string } | TextEnding;
