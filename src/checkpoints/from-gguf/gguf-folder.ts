/** A GGUF that llama.cpp runs, one file that is read by ranges, as the directory of the model in it. */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import type { HeadReading } from "../../formats/containers/gguf-reader.ts";
import { rangesOf } from "../../formats/containers/gguf-file.ts";
import { CONFIG_FILE } from "../checkpoint.ts";
import { TOKENIZER_FILE } from "../gguf/tokenizer-json.ts";
import { type Folder, type RangedFile, readGguf } from "../read-heads.ts";
import { modelOfGguf } from "./config.ts";
import { GgufKeys } from "./keys.ts";
import { tensorsOfGguf } from "./tensors.ts";
import { endingsOfGguf, tokenizerOfGguf } from "./tokenizer.ts";

const FILE = "model.gguf";
const GENERATION_FILE = "generation_config.json";
/** Where there are as many tokens, they may be bytes without any texts. */
const BYTES = 256;
const TABLE = "token_embd.weight";
const HEAD = "output.weight";

/**
 * Undefined of a file that is no GGUF. Its head is kept until the tokenizer.json is asked for. Errors: `invalid_config` for a model that is not computed here, `unsupported_dtype` for
 * types that are not read, `invalid_option` for a tokenizer that is not; `malformed_body`
 */
export async function ggufFolder(
  file: RangedFile,
  reading?: HeadReading,
): Promise<Folder | undefined> {
  const found = await readGguf(file, reading);
  if (!found) return undefined;
  const { gguf, headBytes } = found;
  const keys = new GgufKeys(gguf.pairs);
  checkWhole(keys);
  const ranges = rangesOf(gguf).map((range) => ({
    ...range,
    start: headBytes + range.start,
    end: headBytes + range.end,
  }));
  const table = ranges.find(({ name }) => name === TABLE);
  if (!table)
    throw new AppError(
      "invalid_config",
      `Expected a GGUF of a model that writes text, with ${TABLE}, got none`,
    );
  const vocabulary = table.shape[0]!;
  const { config, names } = modelOfGguf(keys, {
    vocabulary,
    hasHead: ranges.some(({ name }) => name === HEAD),
  });
  const { floats, ggml } = tensorsOfGguf(ranges, names, FILE);
  const endings = endingsOfGguf(keys);
  let unread: GgufKeys | undefined = keys;
  let tokenizer: string | undefined;
  const texts: Record<string, () => string | undefined> = {
    [CONFIG_FILE]: () => JSON.stringify(config),
    [GENERATION_FILE]: () => JSON.stringify({ eos_token_id: endings }),
    // Megabytes of a large vocabulary, which not all ask for; then the head is not kept beside it.
    [TOKENIZER_FILE]() {
      if (unread) tokenizer = tokenizerOfGguf(unread);
      unread = undefined;
      if (tokenizer === undefined && vocabulary !== BYTES) throw nameless(vocabulary); // prettier-ignore
      return tokenizer;
    },
  };
  return {
    list: () => Promise.resolve([FILE]),
    text: (name) => Promise.resolve(texts[name]?.()),
    open: () => Promise.resolve(file),
    checkpoint: () => Promise.resolve({ tensors: floats, ggml, config }),
  };
}

function nameless(vocabulary: number): AppError {
  return new AppError(
    "file_not_found",
    `Expected a GGUF with texts for its ${vocabulary} tokens, got one that calls them by their ids`,
  );
}

/** Errors: `invalid_config`, it is a part of a model, or none */
function checkWhole(keys: GgufKeys): void {
  const parts = keys.number("split.count") ?? 1;
  if (parts > 1)
    throw new AppError(
      "invalid_config",
      `Expected a model in one GGUF, got one of ${parts} parts; llama-gguf-split --merge joins them`,
    );
  const kind = keys.text("general.type") ?? "model";
  if (kind !== "model")
    throw new AppError(
      "invalid_config",
      `Expected a GGUF of a model, got one of \`general.type\` ${shown(kind)}`,
    );
}
