/** Opens a model directory, of transformers or of this project, to generate text. */
import { AppError } from "../api/errors.ts";
import { parsedObject } from "../api/json.ts";
import { CONFIG_FILE } from "../checkpoints/checkpoint.ts";
import { checkLayers } from "../checkpoints/config-sizes.ts";
import { type Folder, readFolder } from "../checkpoints/read-heads.ts";
import type { WeightFormat } from "../kernels/decode.ts";
import { decoderOf } from "../model/architectures.ts";
import type { Decoder } from "../model/decoder.ts";
import { Bpe } from "../tokenizers/bpe.ts";
import {
  checkTokenizerConfig,
  foreignBytes,
  ForeignTokenizer,
} from "../tokenizers/foreign-tokenizer.ts";
import { renumberedBpe } from "../tokenizers/renumbered-bpe.ts";
import type { TextTokenizer } from "../tokenizers/text-tokenizer.ts";
import { checkFormat, loadWeights } from "./load-weights.ts";
import type { PanelWeights } from "./panel-weights.ts";
import type { TextModel } from "./writer.ts";

const GENERATION_CONFIG_FILE = "generation_config.json";
const TOKENIZER_FILE = "tokenizer.json";
/** Files of unsupported tokenizers: GPT-2's in two files, SentencePiece's, BERT's, tiktoken's. */
const OTHER_TOKENIZERS = [
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "spiece.model",
  "vocab.txt",
  "tekken.json",
  "tiktoken.model",
];
/** Further settings of transformers' tokenizers. */
const TOKENIZER_CONFIG_FILE = "tokenizer_config.json";

/** A model whose weights and tokenizer are not loaded yet. */
export type OpenedModel = {
  decoder: Decoder;
  /** Approximate memory of a loaded foreign tokenizer; 0 for this project's own. */
  tokenizerBytes: () => Promise<number>;
  load: (
    format: WeightFormat,
    onWindow?: () => void,
  ) => Promise<TextModel & { weights: PanelWeights }>;
};

/**
 * Errors: `invalid_config` if it is no model; when loading, `file_not_found`, `malformed_body` for a tokenizer that
 * cannot be read
 */
export async function openTextModel(folder: Folder): Promise<OpenedModel> {
  const checkpoint = await readFolder(folder);
  const { config } = checkpoint;
  if (config === undefined)
    throw new AppError("invalid_config", `Expected ${CONFIG_FILE}, got none`);
  checkLayers(checkpoint);
  const decoder = decoderOf(config);
  const files = new TokenizerFiles(folder);
  return {
    decoder,
    tokenizerBytes: () => files.bytes(),
    load: async (format, onWindow) => {
      checkFormat(decoder, format);
      const tokenizer = await files.tokenizer(decoder.vocabulary);
      const generation = await folder.text(GENERATION_CONFIG_FILE);
      const endings = endingsOf(config, generation);
      const weights = await loadWeights(
        folder,
        checkpoint,
        decoder,
        format,
        onWindow,
      );
      return { decoder, tokenizer, endings, weights };
    },
  };
}

/** Reads a model's tokenizer, once, since parsing JSON leaves several times its size as garbage. */
class TokenizerFiles {
  readonly #folder: Folder;
  #read: Promise<Read> | undefined;

  constructor(folder: Folder) {
    this.#folder = folder;
  }

  /** Approximate memory of a foreign tokenizer. */
  async bytes(): Promise<number> {
    const { json, own } = await this.#files();
    return json === undefined || own ? 0 : foreignBytes(json);
  }

  /**
   * The tokenizer, with at most as many ids as the model; without a file, bytes are the tokens of a model with 256
   * ids.
   */
  async tokenizer(vocabulary: number): Promise<TextTokenizer> {
    const { json, own } = await this.#files();
    if (json === undefined) await checkNoOther(this.#folder);
    if (json === undefined && vocabulary !== 256)
      throw new AppError(
        "file_not_found",
        `Expected ${TOKENIZER_FILE} for a model of ${vocabulary} tokens, got none; its makers publish it beside the weights`,
      );
    const config = await this.#folder.text(TOKENIZER_CONFIG_FILE);
    checkTokenizerConfig(config, json);
    const tokenizer =
      json === undefined ? new Bpe([]) : (own ?? new ForeignTokenizer(json));
    if (tokenizer.vocabulary <= vocabulary) return tokenizer;
    throw new AppError(
      "invalid_config",
      `Expected a tokenizer of at most ${vocabulary} ids, got ${tokenizer.vocabulary}`,
    );
  }

  #files(): Promise<Read> {
    return (this.#read ??= this.#folder.text(TOKENIZER_FILE).then((json) => ({
      json,
      own: json === undefined ? undefined : renumberedBpe(json),
    })));
  }
}

/** `own` is set if this project's own implementation can be used. */
type Read = { json: string | undefined; own: TextTokenizer | undefined };

/** Bytes are only used as tokens if there is no tokenizer of another kind. Errors: `file_not_found` */
async function checkNoOther(folder: Folder): Promise<void> {
  const names = (await folder.list()) ?? [];
  const other = names.find((name) => OTHER_TOKENIZERS.includes(name));
  if (other === undefined) return;
  throw new AppError(
    "file_not_found",
    `Expected ${TOKENIZER_FILE}, got ${other} alone: AutoTokenizer of transformers, saved again, writes it`,
  );
}

/**
 * The ending tokens; generation_config.json takes precedence over config.json. Errors: `malformed_body` if it is not
 * an object
 */
function endingsOf(
  config: Readonly<Record<string, unknown>>,
  generation: string | undefined,
): readonly number[] {
  const own: { eos_token_id?: unknown } | undefined =
    generation === undefined ? {} : parsedObject(generation);
  if (!own)
    throw new AppError(
      "malformed_body",
      `Expected an object in ${GENERATION_CONFIG_FILE}, got other text`,
    );
  return [own.eos_token_id ?? config.eos_token_id]
    .flat()
    .filter((each): each is number => typeof each === "number");
}
