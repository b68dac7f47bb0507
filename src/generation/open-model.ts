/** A directory of transformers, or of this project, as a model that writes. */
import { AppError } from "../api/errors.ts";
import {
  type CheckpointTensor,
  CONFIG_FILE,
} from "../checkpoints/checkpoint.ts";
import { type Folder, readFolder } from "../checkpoints/read-heads.ts";
import type { WeightFormat } from "../kernels/decode.ts";
import { decoderOf } from "../model/architectures.ts";
import type { Decoder } from "../model/decoder.ts";
import { Bpe } from "../tokenizers/bpe.ts";
import { readTokenizerJson } from "../tokenizers/tokenizer-json.ts";
import { checkFormat, loadWeights } from "./load-weights.ts";
import type { PanelWeights } from "./panel-weights.ts";
import type { TextModel } from "./writer.ts";

const TOKENIZER_FILE = "tokenizer.json";

/** All but the weights. */
export type OpenedModel = {
  decoder: Decoder;
  tokenizer: Bpe;
  endings: readonly number[];
  load: (
    format: WeightFormat,
    onWindow?: () => void,
  ) => Promise<TextModel & { weights: PanelWeights }>;
};

/** Errors: `invalid_config`, `file_not_found`, `malformed_body` for what is no model, or has no tokenizer that is read here */
export async function openTextModel(folder: Folder): Promise<OpenedModel> {
  const { tensors, config } = await readFolder(folder);
  if (config === undefined)
    throw new AppError("invalid_config", `Expected ${CONFIG_FILE}, got none`);
  const decoder = decoderOf(config);
  const tokenizer = await tokenizerOf(folder, decoder.vocabulary);
  const endings = endingsOf(config.eos_token_id);
  return {
    decoder,
    tokenizer,
    endings,
    load: (format, onWindow) =>
      loadAll(
        folder,
        tensors,
        { decoder, tokenizer, endings },
        format,
        onWindow,
      ),
  };
}

async function loadAll(
  folder: Folder,
  tensors: readonly CheckpointTensor[],
  model: Omit<TextModel, "weights">,
  format: WeightFormat,
  onWindow?: () => void,
): Promise<TextModel & { weights: PanelWeights }> {
  const { decoder } = model;
  checkFormat(decoder, format);
  const weights = await loadWeights(folder, tensors, decoder, format, onWindow);
  return { ...model, weights };
}

/** One of no more ids than the model has; without a file, bytes are the tokens where there are as many. */
async function tokenizerOf(folder: Folder, vocabulary: number): Promise<Bpe> {
  const json = await folder.text(TOKENIZER_FILE);
  if (json === undefined && vocabulary !== 256)
    throw new AppError(
      "file_not_found",
      `Expected ${TOKENIZER_FILE} for a model of ${vocabulary} tokens, got none`,
    );
  const tokenizer = json === undefined ? new Bpe([]) : readTokenizerJson(json);
  if (tokenizer.vocabulary <= vocabulary) return tokenizer;
  throw new AppError(
    "invalid_config",
    `Expected a tokenizer of at most ${vocabulary} ids, got ${tokenizer.vocabulary}`,
  );
}

function endingsOf(told: unknown): readonly number[] {
  return [told]
    .flat()
    .filter((each): each is number => typeof each === "number");
}
