/** Generates text, token by token. The same options give the same text on every machine. */
import { AppError } from "../api/errors.ts";
import type { TextEnding } from "../api/generation.ts";
import { KeyValueCache } from "../model/key-value-cache.ts";
import type { Decoder, DecoderWeights } from "../model/decoder.ts";
import type { TextTokenizer } from "../tokenizers/text-tokenizer.ts";
import { type SamplingOptions, sampleToken, samplingOf } from "./sampler.ts";
import { StopStrings } from "./stop-strings.ts";

/** Prompt tokens processed between two turns of the event loop. */
const PROMPT_TOKENS = 16;

/** A loaded model. */
export type TextModel = {
  decoder: Decoder;
  weights: DecoderWeights;
  tokenizer: TextTokenizer;
  /** Tokens that end a text. */
  endings: readonly number[];
};

export type WritingOptions = {
  [Name in keyof SamplingOptions]?: SamplingOptions[Name] | undefined;
} & {
  maxTokens: number;
  /** Stop strings; the text ends before the first of them. */
  stop?: readonly string[] | undefined;
};

/** Index of the first of `length` tokens that the model sees, so that at most `window` are left. */
export function firstSeen(length: number, window: number): number {
  const step = window - Math.floor(window / 2);
  return Math.max(0, Math.ceil((length - window) / step)) * step;
}

/**
 * Generates a text, with a key-value cache. While the text fits the window, the model sees all of it; then only its
 * last half, until the window is full again.
 */
export class Writer {
  readonly #model: TextModel;
  readonly #cache: KeyValueCache;
  readonly #spelling: (id: number) => Uint8Array;
  /** Tokens in the cache. */
  #seen: number[] = [];

  /** The cache has room for `positions` tokens, at most the model's context. */
  constructor(model: TextModel, positions = model.decoder.context) {
    this.#model = model;
    const window = Math.min(positions, model.decoder.context);
    this.#cache = new KeyValueCache(model.decoder, window);
    this.#spelling = model.tokenizer.spelling();
  }

  /**
   * Yields the text after `prompt`, in whole characters; `turn` is called between two tokens. If the prompt continues
   * the last text, only the new tokens are processed. Errors: `invalid_option`
   */
  async *write(
    prompt: string,
    { maxTokens, stop = [], ...told }: WritingOptions,
    turn: () => Promise<void> | void,
  ): AsyncGenerator<string, TextEnding> {
    const options = samplingOf(told);
    const { tokenizer, endings } = this.#model;
    const text = Array.from(tokenizer.encode(prompt));
    const promptTokens = text.length;
    if (promptTokens === 0)
      throw new AppError(
        "invalid_option",
        "Expected `prompt` to have at least one token, got none",
      );
    const utf8 = new TextDecoder("utf-8", {
      fatal: false,
      ignoreBOM: true,
    });
    const stops = new StopStrings(stop);
    const ending = (reason: TextEnding["reason"]): TextEnding => ({
      reason,
      promptTokens,
      tokens: text.length - promptTokens,
    });
    while (text.length - promptTokens < maxTokens) {
      const logits = await this.#logitsAfter(text, turn);
      const token = sampleToken(logits, text, options, tokenizer.vocabulary);
      if (endings.includes(token)) {
        const rest = stops.take(utf8.decode()).text + stops.rest();
        if (rest !== "") yield rest;
        return ending("stop");
      }
      text.push(token);
      const piece = utf8.decode(this.#spelling(token), { stream: true });
      const { text: out, isStopped } = stops.take(piece);
      if (out !== "") yield out;
      if (isStopped) return ending("stop");
    }
    const { text: last, isStopped } = stops.take(utf8.decode());
    const rest = isStopped ? last : last + stops.rest();
    if (rest !== "") yield rest;
    return ending(isStopped ? "stop" : "length");
  }

  /** f32 [vocabulary] */
  async #logitsAfter(
    text: readonly number[],
    turn: () => Promise<void> | void,
  ): Promise<Float32Array> {
    const { decoder, weights } = this.#model;
    const cache = this.#cache;
    const window = text.slice(firstSeen(text.length, cache.positions));
    let known = 0;
    // The last token is always processed again, since its logits are not kept.
    while (known < window.length - 1 && this.#seen[known] === window[known])
      known++;
    cache.length = known;
    this.#seen = window.slice(0, known);
    for (;;) {
      await turn();
      const tokens = window.slice(known, known + PROMPT_TOKENS);
      const logits = decoder.forward(weights, cache, tokens);
      this.#seen.push(...tokens);
      known += tokens.length;
      if (known === window.length) return logits;
    }
  }

  /** Frees the cache. */
  free(): void {
    this.#cache.free();
  }
}
