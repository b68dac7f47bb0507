/** A model directory at a URL that ends with a slash. It cannot be listed, so its index file tells its contents. */
import { AppError } from "../../api/errors.ts";
import {
  CONFIG_FILE,
  INDEX_FILE,
  readIndex,
  SINGLE_FILE,
} from "../../checkpoints/checkpoint.ts";
import { checkTextBytes } from "../../checkpoints/read-heads.ts";
import {
  findUrl,
  readUrl,
  shownUrl,
  type UrlFile,
  type UrlReader,
} from "./url-file.ts";

type NamedFile = UrlFile & { name: string };

/** Files beside the weights of a transformers model. */
const SMALL_FILES = [
  CONFIG_FILE,
  "generation_config.json",
  "tokenizer.json",
  "tokenizer.model",
  "spiece.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "chat_template.json",
  "preprocessor_config.json",
  "processor_config.json",
  "LICENSE",
];
/** Concurrent requests. */
const PARALLEL = 4;

/** Pins a model's files. Errors: `file_not_found` if there is no such model */
export async function pinUrlFolder(
  reader: UrlReader,
  url: string,
): Promise<NamedFile[]> {
  const find = async (name: string): Promise<NamedFile | undefined> => {
    // A file name may contain characters that are special in a URL.
    const { href } = new URL(encodeURIComponent(name), url);
    const file = await findUrl(reader, href);
    return file && { ...file, name };
  };
  const index = await find(INDEX_FILE);
  const weights = index
    ? [...new Set(readIndex(await textOf(reader, index)).values())]
    : [SINGLE_FILE];
  const found = index ? [index] : [];
  const names = [...weights, ...SMALL_FILES];
  for (let at = 0; at < names.length; at += PARALLEL) {
    const some = names.slice(at, at + PARALLEL);
    const files = await Promise.all(some.map(find));
    found.push(...files.filter((file) => file !== undefined));
  }
  const missing = weights.find(
    (name) => !found.some((file) => file.name === name),
  );
  if (missing === undefined) return found;
  throw new AppError(
    "file_not_found",
    `Expected a model at ${shownUrl(url)}, got no ${missing}`,
  );
}

async function textOf(reader: UrlReader, file: NamedFile): Promise<string> {
  checkTextBytes(file.name, file.bytes);
  return new TextDecoder().decode(await readUrl(reader, file, 0, file.bytes));
}
