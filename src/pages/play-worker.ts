/** Computes for the playground: the library's code on the library's kernels, beside the page. */
import { messageOf } from "../api/errors.ts";
import { inspect } from "../checkpoints/inspect.ts";
import { inspectGguf } from "../checkpoints/inspect-gguf.ts";
import { readFolder, readOne } from "../checkpoints/read-heads.ts";
import type { Inspection } from "../checkpoints/inspect.ts";
import { isFloat } from "../formats/dtype.ts";
import { convert } from "../library/convert.ts";
import { drawnFile } from "./play/distributions.ts";
import { folderOf, headOf, rangedFile } from "./play/local-files.ts";
import { lookAt } from "./play/look.ts";
import type {
  WorkerAnswer,
  QuestionKind,
  Question,
  Questions,
} from "./play/requests.ts";
import { loadKernelsHere } from "./training/kernels.ts";

const loaded = loadKernelsHere("kernels-files.wasm");
// Each answer tells.
loaded.catch(() => undefined);

const ANSWERS: {
  [K in QuestionKind]: (
    question: Questions[K]["question"],
  ) => Promise<Questions[K]["answer"]> | Questions[K]["answer"];
} = {
  draw: drawnFile,
  async tensors(file) {
    const { tensors } = await headOf(file);
    return tensors
      .filter(({ dtype, shape }) => isFloat(dtype) && shape.length > 0)
      .map(({ name }) => name);
  },
  look: ({ file, tensor, options, block }) =>
    lookAt(file, tensor, options, block),
  inspect: inspected,
  async quantize({ file, options }) {
    const answer = await convert("quantize", file, options, () => loaded);
    return answer.blob();
  },
};

async function inspected(
  files: ReadonlyMap<string, Blob>,
): Promise<Inspection | undefined> {
  const [only] = files;
  if (files.size !== 1 || !only)
    return inspect(await readFolder(folderOf(files)));
  const [name, file] = only;
  if (name.endsWith(".npy")) return undefined;
  const read = await readOne(name, rangedFile(file));
  return "pairs" in read ? inspectGguf(name, read) : inspect(read);
}

async function answered({
  id,
  kind,
  question,
}: Question): Promise<WorkerAnswer> {
  try {
    await loaded;
    const answer: (question: never) => unknown = ANSWERS[kind];
    return { id, answer: await answer(question as never) };
  } catch (error) {
    return {
      id,
      error: messageOf(error),
    };
  }
}

/** One at a time: they share the kernels' memory. */
let last = Promise.resolve();
addEventListener("message", ({ data }: MessageEvent<Question>) => {
  last = last.then(async () => postMessage(await answered(data)));
});
