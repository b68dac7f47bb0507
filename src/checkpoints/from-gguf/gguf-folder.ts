/** Presents a GGUF, read by byte ranges, as a model directory. */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import type { HeadReading } from "../../formats/containers/gguf-reader.ts";
import { CONFIG_FILE } from "../checkpoint.ts";
import { TOKENIZER_FILE } from "../gguf/tokenizer-json.ts";
import { type OpenBeside, placesIn, readGgufParts } from "../gguf-parts.ts";
import type { Folder, RangedFile } from "../read-heads.ts";
import { modelOfGguf } from "./config.ts";
import { ropeFactorsIn } from "./rope-factors.ts";
import { GgufKeys } from "./keys.ts";
import { tensorsOfGguf } from "./tensors.ts";
import { type GgufVocabulary, vocabularyOfGguf } from "./tokenizer.ts";

const GENERATION_FILE = "generation_config.json";
/** With this many tokens, they may be bytes without texts. */
const BYTES = 256;
const TABLE = "token_embd.weight";
const HEAD = "output.weight";

/**
 * Undefined for a file that is not a GGUF; `open` opens the other parts of a split one. The header is kept until the
 * tokenizer.json is requested. Errors: `invalid_config` for an unsupported model, `unsupported_dtype` for unsupported
 * types, `invalid_option` for an unsupported tokenizer; those of `readGgufParts`
 */
export async function ggufFolder(
  name: string,
  file: RangedFile,
  open?: OpenBeside,
  reading?: HeadReading,
): Promise<Folder | undefined> {
  const found = await readGgufParts(name, file, open, reading);
  if (!found) return undefined;
  const keys = new GgufKeys(found.pairs);
  checkKind(keys);
  const ranges = placesIn(found.parts);
  const table = ranges.find(({ name }) => name === TABLE);
  if (!table)
    throw new AppError(
      "invalid_config",
      `Expected a GGUF of a model that writes text, with ${TABLE}, got none`,
    );
  const vocabulary = table.shape[0]!;
  const isThere = (name: string) => ranges.some((each) => each.name === name);
  const files = new Map(found.parts.map((part) => [part.name, part.file]));
  const { config, names } = modelOfGguf(keys, {
    vocabulary,
    hasHead: isThere(HEAD),
    biases: {
      attention: isThere("blk.0.attn_output.bias"),
      mlp: isThere("blk.0.ffn_down.bias"),
    },
    ropeFactors: await ropeFactorsIn(ranges, files),
  });
  const { floats, ggml } = tensorsOfGguf(ranges, names);
  let unread: GgufKeys | undefined = keys;
  let read: GgufVocabulary | undefined;
  // Built on demand: megabytes for a large vocabulary. Afterwards the header is dropped.
  const told = (): GgufVocabulary => {
    if (unread) read = vocabularyOfGguf(unread);
    unread = undefined;
    return read!;
  };
  const texts: Record<string, () => string | undefined> = {
    [CONFIG_FILE]: () => JSON.stringify(config),
    [GENERATION_FILE]: () => JSON.stringify({ eos_token_id: told().endings }),
    [TOKENIZER_FILE]() {
      const { tokenizer } = told();
      if (tokenizer === undefined && vocabulary !== BYTES)
        throw nameless(vocabulary);
      return tokenizer;
    },
  };
  return {
    list: () => Promise.resolve([...files.keys()]),
    text: (name) => Promise.resolve(texts[name]?.()),
    open: (part) => Promise.resolve(files.get(part)!),
    checkpoint: () => Promise.resolve({ tensors: floats, ggml, config }),
  };
}

function nameless(vocabulary: number): AppError {
  return new AppError(
    "file_not_found",
    `Expected a GGUF with texts for its ${vocabulary} tokens, got one that calls them by their ids`,
  );
}

/** Errors: `invalid_config` if the GGUF is not a model */
function checkKind(keys: GgufKeys): void {
  const kind = keys.text("general.type") ?? "model";
  if (kind !== "model")
    throw new AppError(
      "invalid_config",
      `Expected a GGUF of a model, got one of \`general.type\` ${shown(kind)}`,
    );
}
