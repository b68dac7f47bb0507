/** Reads the headers of a GGUF in one or several files. */
import { AppError } from "../api/errors.ts";
import type { TensorFile } from "../formats/containers/container.ts";
import { GGUF, rangesOf } from "../formats/containers/gguf-file.ts";
import type {
  GgufHead,
  HeadReading,
} from "../formats/containers/gguf-reader.ts";
import {
  checkWhole,
  isOfSplit,
  namesOfParts,
  splitOf,
} from "../formats/containers/gguf-split.ts";
import type { TensorRange } from "../formats/tensor.ts";
import { type RangedFile, readGguf } from "./read-heads.ts";

/** Opens a file in the same directory. Errors: `file_not_found` */
export type OpenBeside = (name: string) => Promise<RangedFile>;

export type GgufPart = {
  name: string;
  file: RangedFile;
  headBytes: number;
  gguf: GgufHead;
};

export type GgufParts = {
  /** Key-values of the first part, without those about the split. */
  pairs: GgufHead["pairs"];
  alignment: number;
  parts: readonly GgufPart[];
};

/** Limit of tensors, so that headers fit in an isolate's memory. */
const MAX_TENSORS = 16_384;

/**
 * Undefined for a file that is not a GGUF. `name` must be the first of several parts; `open` opens the others, whose
 * headers are short. Errors: `malformed_body` for another part than the first, parts that do not belong together, or
 * if others cannot be opened; `file_not_found`; those of `readGgufHead`
 */
export async function readGgufParts(
  name: string,
  file: RangedFile,
  open?: OpenBeside,
  reading?: HeadReading,
): Promise<GgufParts | undefined> {
  const found = await readGguf(file, reading);
  if (!found) return undefined;
  const { pairs, alignment } = found.gguf;
  const split = splitOf(pairs);
  const parts = [{ name, file, ...found }];
  if (!split) return { pairs, alignment, parts };
  if (!open) checkWhole(pairs);
  const { tensors: expected } = split;
  if (expected === undefined)
    throw unlike("`split.tensors.count`, as of parts", "none");
  if (expected > MAX_TENSORS)
    throw new AppError(
      "body_too_large",
      `Expected at most ${MAX_TENSORS} tensors in the parts of a GGUF, got ${expected}`,
    );
  const names = new Set(found.gguf.tensors.map((tensor) => tensor.name));
  for (const [i, other] of namesOfParts(name, split).entries()) {
    if (i === 0) continue;
    const beside = await open!(other);
    const own = await readGguf(beside, { keeps: isOfSplit });
    const told = own && splitOf(own.gguf.pairs);
    if (
      told?.part !== i ||
      told.parts !== split.parts ||
      told.tensors !== expected
    )
      throw unlike(
        `part ${i + 1} of the ${split.parts} in ${other}`,
        told
          ? `part ${told.part + 1} of ${told.parts}, with ${told.tensors} of ${expected} tensors in all`
          : "none",
      );
    for (const tensor of own!.gguf.tensors) {
      if (names.has(tensor.name))
        throw unlike(
          "each tensor in one part",
          `"${tensor.name}" in ${other} too`,
        );
      names.add(tensor.name);
    }
    parts.push({ name: other, file: beside, ...own! });
  }
  if (names.size !== expected)
    throw unlike(`${expected} tensors in all of its parts`, `${names.size}`);
  const whole = [...pairs].filter(([key]) => !isOfSplit(key));
  return { pairs: new Map(whole), alignment, parts };
}

function unlike(expected: string, got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected a GGUF with ${expected}, got ${got}`,
  );
}

/** The tensors of all parts, with byte ranges from the start of each file. */
export function placesIn(
  parts: readonly GgufPart[],
): (TensorRange & { file: string })[] {
  return parts.flatMap(({ name, headBytes, gguf }) =>
    rangesOf(gguf).map((range) => ({
      ...range,
      file: name,
      start: headBytes + range.start,
      end: headBytes + range.end,
    })),
  );
}

/** All parts as one file, whose data is theirs concatenated. */
export function joinedFile({ pairs, alignment, parts }: GgufParts): TensorFile {
  let dataBytes = 0;
  const tensors = parts.flatMap(({ file, headBytes, gguf }) => {
    const from = dataBytes;
    dataBytes += file.bytes - headBytes;
    return rangesOf(gguf).map((range) => ({
      ...range,
      start: from + range.start,
      end: from + range.end,
    }));
  });
  const metadata = pairs;
  return {
    target: GGUF,
    headBytes: 0,
    dataBytes,
    tensors,
    metadata,
    alignment,
  };
}
