/** Computes for the playground in a Worker, with the library's code and kernels. */
import { messageOf } from "../api/errors.ts";
import { inspect } from "../checkpoints/inspect.ts";
import { aloneGguf } from "../checkpoints/checkpoint.ts";
import { inspectFile } from "../checkpoints/inspect-file.ts";
import { readFolder } from "../checkpoints/read-heads.ts";
import type { Inspection } from "../checkpoints/inspect.ts";
import { findFloat8 } from "../formats/blocks/fp8-scales.ts";
import { isFloat } from "../formats/dtype.ts";
import { convert } from "../library/convert.ts";
import { drawnFile } from "./play/distributions.ts";
import { folderOf, headOf } from "./play/local-files.ts";
import { lookAt } from "./play/look.ts";
import type {
  WorkerAnswer,
  QuestionKind,
  Question,
  Questions,
} from "./play/requests.ts";
import { loadKernelsHere } from "./training/kernels.ts";

const loaded = loadKernelsHere("kernels-files.wasm");
// Each answer reports a failure.
loaded.catch(() => undefined);

const ANSWERS: {
  [K in QuestionKind]: (
    question: Questions[K]["question"],
    tell: (share: number) => void,
  ) => Promise<Questions[K]["answer"]> | Questions[K]["answer"];
} = {
  draw: drawnFile,
  async tensors(file) {
    const { tensors } = await headOf(file);
    // A scale of FP8 is part of its weight, and no tensor to pack.
    const scales = new Set(
      findFloat8(tensors).flatMap(({ scale, inputScale }) =>
        [scale?.tensor.name, inputScale?.name].filter(Boolean),
      ),
    );
    const floats = tensors.filter(
      ({ name, dtype, shape }) =>
        isFloat(dtype) && shape.length > 0 && !scales.has(name),
    );
    const first = floats.find(({ shape }) => shape.length > 1) ?? floats.at(0);
    return {
      names: floats.map(({ name }) => name),
      first: first?.name,
      dtypes: [...new Set(tensors.map(({ dtype }) => dtype))],
    };
  },
  look: ({ file, tensor, options, block }, tell) =>
    lookAt(file, tensor, options, block, tell),
  inspect: inspected,
  async quantize({ file, options }, tell) {
    const answer = await convert("quantize", file, options, () => loaded);
    const bytes = Number(answer.headers.get("Content-Length"));
    return blobOf(answer.body!, (made) => tell(made / bytes));
  },
};

/**
 * Collects a stream into a Blob, which the browser may keep on disk. Errors: the stream's own, which `Response.blob`
 * would hide
 */
async function blobOf(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  heard: (bytes: number) => void,
): Promise<Blob> {
  const parts: Blob[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    parts.push(new Blob([chunk]));
    heard((bytes += chunk.length));
  }
  return new Blob(parts);
}

async function inspected(
  files: ReadonlyMap<string, Blob>,
): Promise<Inspection | undefined> {
  const names = [...files.keys()];
  const only = names.length === 1 ? names[0] : aloneGguf(names);
  const folder = folderOf(files);
  if (only === undefined) return inspect(await readFolder(folder));
  if (only.endsWith(".npy")) return undefined;
  return inspectFile(only, await folder.open(only), (part) =>
    folder.open(part),
  );
}

/** Shortest interval of progress messages. */
const TELL_MS = 200;

function sharesOf(id: number): (share: number) => void {
  let lastMs = performance.now();
  return (share) => {
    const nowMs = performance.now();
    if (nowMs - lastMs < TELL_MS) return;
    lastMs = nowMs;
    postMessage({ id, share } satisfies WorkerAnswer);
  };
}

async function answered({
  id,
  kind,
  question,
}: Question): Promise<WorkerAnswer> {
  try {
    await loaded;
    const answer: (question: never, tell: (share: number) => void) => unknown =
      ANSWERS[kind];
    return { id, answer: await answer(question as never, sharesOf(id)) };
  } catch (error) {
    return {
      id,
      error: messageOf(error),
    };
  }
}

/** One at a time, since they share the kernels' memory. */
let last = Promise.resolve();
addEventListener("message", ({ data }: MessageEvent<Question>) => {
  last = last.then(async () => postMessage(await answered(data)));
});
