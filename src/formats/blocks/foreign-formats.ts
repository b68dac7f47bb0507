/**
 * Recognizes the quantized formats of a file's tensors, also of other tools; those that cannot be read are refused by
 * name.
 */
import { AppError } from "../../api/errors.ts";
import type { TensorFile } from "../containers/container.ts";
import { isDtype } from "../dtype.ts";
import type { TensorHead } from "../tensor.ts";
import { type HeadsByName, KNOWN_FORMATS } from "./known-formats.ts";
import { isRecorded } from "./quantization-record.ts";

export type RecognizedFormat = {
  format: string;
  /** Number of weights in this format. */
  weights: number;
  /** Name of the first of them. */
  example: string;
};

/** The formats found, in order of their number of weights. */
export function recognizeFormats(
  tensors: readonly TensorHead[],
): RecognizedFormat[] {
  const heads = new Map(tensors.map((head) => [head.name, head]));
  const found = new Map<string, RecognizedFormat>();
  for (const head of tensors) {
    const known = recognize(head, heads);
    if (known === undefined) continue;
    const { format, weight } = known;
    const own = found.get(format) ?? { format, weights: 0, example: weight };
    found.set(format, { ...own, weights: own.weights + 1 });
  }
  return [...found.values()].toSorted((a, b) => b.weights - a.weights);
}

/** Returns the format of a tensor; undefined if unknown. */
export function formatsOf(
  tensors: readonly TensorHead[],
): (head: TensorHead) => string | undefined {
  const heads = new Map(tensors.map((head) => [head.name, head]));
  return (head) => recognize(head, heads)?.format;
}

function recognize(
  head: TensorHead,
  heads: HeadsByName,
): { format: string; weight: string; isRead: boolean } | undefined {
  for (const { format, match, isRead } of KNOWN_FORMATS) {
    const weight = match(head, heads);
    if (weight !== undefined) return { format, weight, isRead };
  }
  const { name, dtype } = head;
  // Q8_0 passes, as in llama.cpp's own MXFP4 files.
  return isDtype(dtype) || dtype === "Q8_0"
    ? undefined
    : { format: `${dtype}, GGUF`, weight: name, isRead: false };
}

/**
 * Refuses `meant` tensors in known formats that cannot be read; `remedy` is appended to the message. Errors:
 * `unsupported_dtype`
 */
export function refuseUnread(
  tensors: readonly TensorHead[],
  meant: (name: string) => boolean = () => true,
  remedy = "",
): void {
  const heads = new Map(tensors.map((head) => [head.name, head]));
  for (const head of tensors) {
    const known = recognize(head, heads);
    if (known === undefined || known.isRead || !meant(head.name)) continue;
    throw new AppError(
      "unsupported_dtype",
      `Expected floats, FP8, MXFP4 or MXFP8, got ${known.format} in "${head.name}", which is not read${remedy}`,
    );
  }
}

/** Checks a file that this project did not write. Errors: `unsupported_dtype` */
export function checkRead({ target, tensors, metadata }: TensorFile): void {
  if (!target.isPlain && isRecorded(metadata)) return;
  refuseUnread(tensors);
}
