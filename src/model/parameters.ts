/**
 * All parameters of a model are one flat f32 vector, and a table says where each tensor lies in it. The
 * gradient and the optimizer's moments share the layout, so shards are plain ranges.
 *
 * Matrices come first, then embeddings, then vectors. Matrices and embeddings begin at whole chunks, as the
 * first vector does, so that a shard can have any of them whole. Each tensor is padded to 64 elements: no
 * MXFP4 block or RHT segment of a gradient on the wire holds two tensors. Padding is zero, always. Matrices that
 * a model multiplies as one lie without a gap between them.
 */
import { noiseKey, PURPOSE } from "../kernels/noise.ts";
import { kernels } from "../kernels/runtime.ts";
import { drawNormal } from "../kernels/vector.ts";

const PADDING = 64;
/** The unit of where matrices begin, of shards' boundaries and of squared norms, in elements. */
export const CHUNK_LENGTH = 4096;

/**
 * What an optimizer may tell apart, in the order of the vector: matrices that multiply activations,
 * tables that are looked up row by row, and all that has one dimension.
 */
const PARAMETER_GROUPS = ["matrix", "embedding", "vector"] as const;
export type ParameterGroup = (typeof PARAMETER_GROUPS)[number];

/** How a matrix lies: by inputs, each with its weights to all outputs, or by outputs. */
export type MatrixLayout = "in-out" | "out-in";

/** What a tensor is, wherever it comes to lie. */
export type TensorSpec = {
  name: string;
  group: ParameterGroup;
  shape: number[];
  /** Of a matrix. */
  layout: MatrixLayout;
  /** So many matrices stand in it side by side, each with a part of the columns; q, k and v are such. */
  sideBySide: number;
  /** It begins where the tensor before it ends, and both are one, "out-in" with the outputs of both. */
  isJoined: boolean;
  /** How it starts: normal draws with this standard deviation, or a constant. */
  initial: { deviation: number } | { value: number };
};

export type ParameterTensor = TensorSpec & {
  /** In elements, a multiple of 64. */
  offset: number;
  length: number;
};

export type ParameterTable = {
  /** In order of their offsets. */
  tensors: ParameterTensor[];
  /** Padding included; a multiple of 64. */
  length: number;
};

/** By group, and in their order within one: it is part of what a run's bytes mean. */
export function layOut(specs: readonly TensorSpec[]): ParameterTable {
  const tensors: ParameterTensor[] = [];
  let end = 0;
  for (const group of PARAMETER_GROUPS) {
    const own = specs.filter((spec) => spec.group === group);
    for (const [index, spec] of own.entries()) {
      const isWhole = group !== "vector" || index === 0;
      const unit = isWhole ? CHUNK_LENGTH : PADDING;
      const offset = spec.isJoined ? end : roundUp(end, unit);
      const length = spec.shape.reduce((product, size) => product * size, 1);
      tensors.push({ ...spec, offset, length });
      end = offset + length;
    }
  }
  return { tensors, length: roundUp(end, PADDING) };
}

/** The table's tensors by their names. */
export function tensorsByName({
  tensors,
}: ParameterTable): (name: string) => ParameterTensor {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return (name) => {
    const found = byName.get(name);
    if (!found) throw new Error(`Expected a tensor \`${name}\``);
    return found;
  };
}

/** Matrices [out, in] or vectors [out] that lie without a gap, as one. */
export function joinedTensors(
  tensors: readonly ParameterTensor[],
): ParameterTensor {
  const [first, ...others] = tensors;
  return others.reduce((whole, { name, shape, offset, length }) => {
    if (offset !== whole.offset + whole.length)
      throw new Error(`Expected \`${name}\` right behind \`${whole.name}\``);
    const [rows, ...columns] = whole.shape;
    return {
      ...whole,
      name: `${whole.name} + ${name}`,
      shape: [rows! + shape[0]!, ...columns],
      length: whole.length + length,
    };
  }, first!);
}

/**
 * The parts of `[start, start + length)` that a group has, padding included, in order: one for each group
 * that is there at all.
 */
export function groupParts(
  table: ParameterTable,
  start: number,
  length: number,
): (ElementRange & { group: ParameterGroup })[] {
  const starts = PARAMETER_GROUPS.flatMap((group) => {
    const first = table.tensors.find((tensor) => tensor.group === group);
    return first ? [{ group, offset: first.offset }] : [];
  });
  return starts
    .map(({ group, offset }, index) => ({
      group,
      ...overlap(
        {
          start: offset,
          length: (starts[index + 1]?.offset ?? table.length) - offset,
        },
        { start, length },
      ),
    }))
    .filter((part) => part.length > 0);
}

/** With the padding up to whole segments. */
export function paddedLength({ length }: { length: number }): number {
  return roundUp(length, PADDING);
}

/** Of a matrix. */
export function featuresOf({
  shape,
  layout,
}: Pick<ParameterTensor, "shape" | "layout">): {
  inFeatures: number;
  outFeatures: number;
} {
  const [rows, columns] = shape as [number, number];
  return layout === "in-out"
    ? { inFeatures: rows, outFeatures: columns }
    : { inFeatures: columns, outFeatures: rows };
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** A range in elements. */
export type ElementRange = { start: number; length: number };

/**
 * Initial values of `[start, start + length)` of the flat vector: a pure function of (table, seed,
 * element), whatever the range, so each shard draws its own. Padding is 0. Copies out.
 */
export function initialParameters(
  table: ParameterTable,
  seed: number,
  start: number,
  length: number,
): Float32Array<ArrayBuffer> {
  const { arena } = kernels();
  return arena.scope(() => {
    const values = arena.allocZeroedF32(length);
    for (const [index, tensor] of table.tensors.entries()) {
      const part = overlap(
        { start: tensor.offset, length: tensor.length },
        { start, length },
      );
      if (part.length === 0) continue;
      const out = values + 4 * (part.start - start);
      if ("value" in tensor.initial) {
        arena.f32(out, part.length).fill(tensor.initial.value);
      } else {
        const key = noiseKey(seed, PURPOSE.initialParameters, index);
        drawNormal(
          out,
          part.length,
          tensor.initial.deviation,
          key,
          part.start - tensor.offset,
        );
      }
    }
    return arena.f32(values, length).slice();
  });
}

/** The padding within `[start, start + length)`, relative to `start`. */
export function paddingRanges(
  table: ParameterTable,
  start: number,
  length: number,
): ElementRange[] {
  const ranges: ElementRange[] = [];
  for (const [index, tensor] of table.tensors.entries()) {
    const paddingStart = tensor.offset + tensor.length;
    const next = table.tensors[index + 1]?.offset ?? table.length;
    const part = overlap(
      { start: paddingStart, length: next - paddingStart },
      { start, length },
    );
    if (part.length > 0) {
      ranges.push({ start: part.start - start, length: part.length });
    }
  }
  return ranges;
}

/** What two ranges share; length 0 when nothing. */
export function overlap(
  first: ElementRange,
  second: ElementRange,
): ElementRange {
  const start = Math.max(first.start, second.start);
  const end = Math.min(
    first.start + first.length,
    second.start + second.length,
  );
  return { start, length: Math.max(0, end - start) };
}
