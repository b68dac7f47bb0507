/**
 * Plans the conversion of a model's directory to one GGUF. A tensor's bytes depend on its values, the options and its
 * position among the GGUF's names; never on how the checkpoint is split into files.
 */
import type { Scheme } from "../../api/scheme.ts";
import { layoutOf } from "../../formats/blocks/block-layouts.ts";
import {
  ggufRecords,
  nonfiniteRecord,
  writeScheme,
} from "../../formats/blocks/quantization-record.ts";
import { checkScheme } from "../../formats/blocks/block-formats.ts";
import { ggufTensor, typePairs } from "../../formats/containers/gguf-file.ts";
import {
  paddingAfter,
  ggufTensorBytes,
  DEFAULT_ALIGNMENT,
} from "../../formats/containers/gguf-types.ts";
import {
  encodePair,
  type GgufValue,
  writeGgufHead,
} from "../../formats/containers/gguf-writer.ts";
import { checkPlain } from "../../formats/operations/quantize-file.ts";
import { mostOf } from "../../formats/operations/most-of.ts";
import type { ValueWatch } from "../../formats/operations/nonfinite-values.ts";
import { nothingTo } from "../../formats/operations/nothing-done.ts";
import {
  Conversion,
  type OpenSection,
} from "../../formats/stream/conversion.ts";
import { HoldPool } from "../../formats/stream/hold-pool.ts";
import { after, before } from "../../formats/stream/tensor-sections.ts";
import type { TensorHead } from "../../formats/tensor.ts";
import type { TensorRead } from "../tensor-reads.ts";
import type { DecidedGguf, GgufChoices } from "./decide-gguf.ts";
import type { Pairs } from "./hyperparameters.ts";
import { heldOf, sectionsOf } from "./gguf-sections.ts";

export type GgufPlan = {
  /** Input of `conversion`, in order. */
  reads: readonly TensorRead[];
  /** Of the whole file. */
  totalBytes: number;
  /** Held in memory. */
  head: Uint8Array;
  /** Starts the conversion from the beginning. */
  conversion: () => Conversion;
};

/**
 * `vocabulary`: the tokenizer's keys; `name`: the model's name. Errors: `invalid_option` for a scheme that llama.cpp
 * cannot decode; `nothing_to_convert` if no tensor is quantized and no types were given
 */
export function planGguf(
  { model, tensors }: DecidedGguf,
  vocabulary: Pairs,
  name: string,
  choices: GgufChoices & { scheme: Scheme },
  { watch, record }: ValueWatch = {},
): GgufPlan {
  const { scheme, selection, output, types } = choices;
  checkScheme(scheme);
  checkPlain(scheme);
  const isMade = tensors.some(({ becomes }) => becomes === "MXFP4");
  if (!isMade && types.length === 0)
    throw nothingTo("quantize", tensors, (_, i) => tensors[i]!.reason);
  const heads = tensors.map(({ name: own, shape, becomes }): TensorHead => ({
    name: own,
    dtype: becomes,
    shape,
  }));
  const { computed } = model;
  if (computed)
    heads.unshift({
      name: computed.name,
      dtype: "F32",
      shape: [computed.values.length],
    });
  const pairs = new Map<string, Uint8Array>([
    encoded("general.architecture", { string: model.name }),
    encoded("general.name", { string: name }),
    ...typePairs(mostOf(heads, "MXFP4")),
    ...model.pairs.map(([key, value]) =>
      encoded(`${model.name}.${key}`, value),
    ),
    ...vocabulary.map(([key, value]) => encoded(key, value)),
    ...[
      ...writeScheme(
        scheme,
        layoutOf("gguf", scheme.format).name,
        selection,
        false,
      ),
      ...ggufRecords(output, types),
      ...(record === undefined ? [] : [nonfiniteRecord(record)]),
    ].map(([key, string]) => encoded(key, { string })),
  ]);
  const written = writeGgufHead(pairs, heads.map(ggufTensor));
  return {
    reads: tensors.flatMap(({ reads }) => reads.flat()),
    totalBytes: written.head.length + written.dataBytes,
    head: written.head,
    conversion() {
      const pool = new HoldPool();
      const sections = tensors.flatMap((tensor, place) => {
        const own = sectionsOf(tensor, place, scheme, pool, watch);
        const { name: called, shape, becomes: dtype } = tensor;
        return padded(own, paddingOf({ name: called, dtype, shape }));
      });
      if (computed) {
        // It has no input, so it is written before the first section that has.
        const first = sections[0]!;
        const bytes = paddedFloats(computed.values);
        sections[0] = () => after(bytes, first());
      }
      return new Conversion({
        ...written,
        sections,
        pool,
        heldBytes: Math.max(0, ...tensors.map(heldOf)),
      });
    },
  };
}

function encoded(key: string, value: GgufValue): [string, Uint8Array] {
  return [key, encodePair(key, value)];
}

function paddingOf(head: TensorHead): number {
  return paddingAfter(ggufTensorBytes(ggufTensor(head)), DEFAULT_ALIGNMENT);
}

function padded(
  sections: readonly OpenSection[],
  padding: number,
): OpenSection[] {
  if (padding === 0) return [...sections];
  const last = sections.at(-1)!;
  return [
    ...sections.slice(0, -1),
    () => before(new Uint8Array(padding), last()),
  ];
}

function paddedFloats(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(
    values.byteLength + paddingAfter(values.byteLength, DEFAULT_ALIGNMENT),
  );
  bytes.set(
    new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  );
  return bytes;
}
