/** The JSON of text generation. */

/** Sampling options, and the format of the weights. */
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

/** Why generation ended, and the number of tokens of the prompt and the text. */
export type TextEnding = {
  reason: "length" | "stop";
  promptTokens: number;
  tokens: number;
};

/** An event of the stream: a piece of text, or the end. */
export type TextEvent = { text: string } | TextEnding;
