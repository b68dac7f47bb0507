/** Files of tensors that are copied, decoded or converted to another layout. */
import { AppError } from "../api/errors.ts";
import { oneRow } from "../formats/blocks/block-rows.ts";
import { type Watch, watched } from "../formats/blocks/nonfinite.ts";
import { watchedCopy } from "../formats/blocks/watched-copy.ts";
import type { Float8Tensor } from "../formats/blocks/fp8-scales.ts";
import { refloated } from "../formats/blocks/float-sections.ts";
import { writeHead } from "../formats/containers/safetensors-writer.ts";
import type { DecodedDtype, Dtype } from "../formats/dtype.ts";
import { Conversion, type OpenSection } from "../formats/stream/conversion.ts";
import { HoldPool } from "../formats/stream/hold-pool.ts";
import { compareNames, type TensorHead } from "../formats/tensor.ts";
import type { CheckpointTensor } from "./checkpoint.ts";
import { float8Held, float8Reads, float8Sections } from "./float8-parts.ts";
import {
  type indexOf,
  type PartsOfFile,
  partsInFiles,
  type PlannedShard,
} from "./shards.ts";

/** A tensor of the model, as written. */
export type WrittenPart = {
  name: string;
  /** Its tensors in the file. */
  heads: readonly TensorHead<Dtype>[];
  /** What is read for it, in order. */
  reads: readonly CheckpointTensor[];
  /** Bytes of it that are held until the rest has arrived. */
  heldBytes: number;
  open: (pool: HoldPool, hold: number) => OpenSection[];
};

/** Copied as it is. */
export function copiedPart(
  tensor: CheckpointTensor,
  watch: Watch | undefined,
): WrittenPart {
  const { name, dtype, shape } = tensor;
  return {
    name,
    heads: [{ name, dtype, shape }],
    reads: [tensor],
    heldBytes: 0,
    open: () => [() => watchedCopy(tensor, watch)],
  };
}

/** Decoded to floats. */
export function float8Part(
  tensor: Float8Tensor,
  dtype: DecodedDtype,
  watch: Watch | undefined,
): WrittenPart {
  const { name, shape } = tensor.weight;
  const head = { name, dtype, shape };
  const inner = () =>
    watched(head, { reads: "F32", writes: dtype }, watch, (lost) =>
      refloated(oneRow(shape), "F32", dtype, lost),
    );
  return {
    name,
    heads: [head],
    reads: float8Reads(tensor),
    heldBytes: float8Held(tensor),
    open: (pool, hold) => float8Sections(tensor, pool, hold, inner),
  };
}

/** The files, ordered by the parts' names, and their index. Errors: `name_collision`; those of `shardsOf` */
export function writtenFiles(
  parts: readonly WrittenPart[],
  maxShardBytes: number,
): {
  shards: readonly PlannedShard[];
  index: ReturnType<typeof indexOf>;
} {
  checkNames(parts);
  const sorted = parts.toSorted((a, b) => compareNames(a.name, b.name));
  const { files, index } = partsInFiles(
    sorted,
    maxShardBytes,
    ({ heads }) => heads.length > 1,
  );
  return { shards: files.map(shardOf), index };
}

function shardOf({
  file,
  parts,
  heads,
}: PartsOfFile<WrittenPart>): PlannedShard {
  return {
    file,
    heads,
    reads: parts.flatMap(({ reads }) => reads),
    groups: parts.map((part) => ({ name: part.name, heads: part.heads })),
    conversion() {
      const pool = new HoldPool();
      const sections = parts.flatMap(({ open }, i) => open(pool, i));
      // As transformers writes it, and requires.
      const metadata = new Map([["format", "pt"]]);
      const heldBytes = Math.max(0, ...parts.map((part) => part.heldBytes));
      const head = writeHead(heads, metadata);
      return new Conversion({ ...head, sections, pool, heldBytes });
    },
  };
}

function checkNames(parts: readonly WrittenPart[]): void {
  const names = new Set<string>();
  for (const { name } of parts.flatMap(({ heads }) => heads)) {
    if (names.has(name))
      throw new AppError(
        "name_collision",
        `Expected no tensor of the name that a decoded or moved one has, got "${name}"`,
      );
    names.add(name);
  }
}
