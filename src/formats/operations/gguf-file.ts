/** A GGUF with MXFP4 tensors from one with floats, and back, in one pass that holds nothing. */
import { AppError } from "../../api/errors.ts";
import { Conversion, type OpenSection } from "../stream/conversion.ts";
import { decodedGgml } from "../blocks/decoded-sections.ts";
import type { DecodedDtype } from "../dtype.ts";
import type { GgufHead } from "../containers/gguf-reader.ts";
import {
  GGML_TYPE,
  type GgufTensor,
  paddingAfter,
  tensorBytes,
} from "../containers/gguf-types.ts";
import { encodePair, writeGgufHead } from "../containers/gguf-writer.ts";
import { ggufFloats, ggufTarget } from "./gguf-targets.ts";
import type { GgufInput } from "../containers/input.ts";
import { roundingKey, sortedPositions } from "../blocks/mxfp4.ts";
import { quantizedGgml, quantizedQ8 } from "../blocks/quantized-sections.ts";
import {
  checkUnrecorded,
  isRecordKey,
  outputRecord,
  PLAIN,
  writeScheme,
} from "../blocks/record.ts";
import { checkSize, rowsOf } from "../blocks/rows.ts";
import { notPlain } from "../blocks/scheme.ts";
import type { GgufOutput, Scheme } from "../../api/scheme.ts";
import { before, copied, dropped } from "../stream/sections.ts";
import type { Selection } from "./selection.ts";

/** `general.file_type` by what most tensors are, as llama.cpp numbers them. */
const FILE_TYPE = { F32: 0, F16: 1, BF16: 32, MXFP4: 38 } as const;
const QUANTIZATION_VERSION = 2;

export type GgufChoices = {
  scheme: Scheme;
  selection: Selection;
  output: GgufOutput;
};

/**
 * Matrices of f32, f16 or bf16 whose rows are whole blocks become MXFP4, the output head and the table of
 * tokens what `output` says; what llama.cpp needs as floats stays.
 * Errors: `invalid_option` for what no reader of GGUF would undo, `name_collision`, `shape_mismatch`
 */
export function planQuantizeGguf(
  { gguf, dataBytes }: GgufInput,
  { scheme, selection, output }: GgufChoices,
): Conversion {
  const [reason] = notPlain(scheme, false);
  if (reason !== undefined) {
    throw new AppError(
      "invalid_option",
      `Expected prescale=1 and hadamard=0 for GGUF, whose readers decode plainly; ${reason}`,
    );
  }
  checkUnrecorded(gguf.pairs.keys());
  const targets = new Map(
    gguf.tensors.map((tensor) => [
      tensor,
      ggufTarget(tensor, selection, output).type,
    ]),
  );
  const chosen = gguf.tensors.filter((each) => targets.get(each) === "mxfp4");
  const positions = sortedPositions(chosen);
  const record = writeScheme(scheme, "ggml", selection, false);
  const pairs = new Map([
    ...pairsWith(gguf, FILE_TYPE.MXFP4),
    ...[...record, outputRecord(output)].map(
      ([key, string]) => [key, encodePair(key, { string })] as const,
    ),
  ]);
  return convert(gguf, dataBytes, pairs, (tensor) => {
    const target = targets.get(tensor)!;
    if (target === "keep") return undefined;
    const rows = rowsOf(tensor.dimensions.toReversed(), 0);
    const dtype = ggufFloats(tensor)!;
    if (target === "q8_0")
      return { type: GGML_TYPE.Q8_0, open: () => quantizedQ8(rows, dtype) };
    checkSize(tensor.name, rows);
    const key = roundingKey(scheme.seed, positions.get(tensor.name)!);
    return {
      type: GGML_TYPE.MXFP4,
      open: () => quantizedGgml(rows, dtype, scheme, key),
    };
  });
}

/** MXFP4 tensors become floats; the rest passes through. */
export function planDequantizeGguf(
  { gguf, dataBytes }: GgufInput,
  dtype: DecodedDtype,
): Conversion {
  const pairs = pairsWith(gguf, FILE_TYPE[dtype]);
  return convert(gguf, dataBytes, pairs, (tensor) => {
    if (tensor.type !== GGML_TYPE.MXFP4) return undefined;
    const rows = rowsOf(tensor.dimensions.toReversed(), 0);
    return {
      type: GGML_TYPE[dtype],
      open: () => decodedGgml(rows, dtype, PLAIN),
    };
  });
}

/** The same file with some tensors replaced. */
function convert(
  { tensors, alignment }: GgufHead,
  dataBytes: number,
  pairs: ReadonlyMap<string, Uint8Array>,
  replace: (
    tensor: GgufTensor,
  ) => { type: number; open: OpenSection } | undefined,
): Conversion {
  const heads: GgufTensor[] = [];
  const sections: OpenSection[] = [];
  let position = 0;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor);
    const replaced = replace(tensor);
    const head = { ...tensor, type: replaced?.type ?? tensor.type };
    heads.push(head);
    const padding = paddingAfter(tensorBytes(head), alignment);
    const open = replaced?.open ?? (() => copied(bytes));
    sections.push(
      padding === 0 ? open : () => before(new Uint8Array(padding), open()),
    );
    // The padding behind the last tensor may be missing.
    position += bytes;
    const skipped = Math.min(
      paddingAfter(bytes, alignment),
      dataBytes - position,
    );
    if (skipped > 0) sections.push(() => dropped(skipped));
    position += skipped;
  }
  const written = writeGgufHead(pairs, heads, alignment);
  // A vocabulary of megabytes is in it, which slow readers take slowly.
  const heldBytes = written.head.length;
  return new Conversion({ ...written, sections, heldBytes });
}

/** The file's key-values, without what we wrote before, and with what its tensors are now. */
function pairsWith(
  { pairs }: GgufHead,
  fileType: number,
): Map<string, Uint8Array> {
  const kept = [...pairs].filter(([key]) => !isRecordKey(key));
  return new Map([
    ...kept,
    pair("general.file_type", fileType),
    pair("general.quantization_version", QUANTIZATION_VERSION),
  ]);
}

function pair(key: string, uint32: number): [string, Uint8Array] {
  return [key, encodePair(key, { uint32 })];
}
