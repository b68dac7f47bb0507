/** Uploads a text file as a dataset named after it. */
import { AppError } from "../../api/errors.ts";
import type { TokenizerName } from "../../api/dataset.ts";
import { client } from "../shell/access.ts";

/** Number of different texts with equal names. */
const MOST_ALIKE = 9;

/** `say` has the words, `heard` the share that is done. Returns the dataset's name, once runs can use it. */
export async function sendText(
  file: File,
  tokenizer: TokenizerName,
  say: (text: string) => void,
  heard: (share: number) => void,
): Promise<string> {
  say(`sending ${file.name}…`);
  const name = await stored(file, tokenizer);
  say(`making tokens of ${name}…`);
  await client().readyDataset(name, ({ progress }) => heard(progress));
  return name;
}

/** Under the first name that is free or already has this text. */
async function stored(file: File, tokenizer: TokenizerName): Promise<string> {
  for (let count = 1; ; count++) {
    const name = datasetName(file.name) + (count > 1 ? `-${count}` : "");
    try {
      await client().putDataset(name, file, { tokenizer });
      return name;
    } catch (error) {
      const isOther =
        error instanceof AppError && error.code === "dataset_differs";
      if (!isOther || count === MOST_ALIKE) throw error;
    }
  }
}

/** A valid dataset name. */
function datasetName(fileName: string): string {
  const letters = fileName
    .replace(/\.\w+$/, "")
    .replace(/[^\w.-]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "");
  return letters.slice(0, 60) || "text";
}
