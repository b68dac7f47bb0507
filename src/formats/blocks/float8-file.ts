/**
 * Presents a file's FP8 tensors as f32 with their scales applied. Operations only see floats; their output takes the
 * place of the file's own tensors. Of weight and scale, the one that comes first is held until the other arrives;
 * pairs for which an operation has no output are copied unchanged.
 */
import type { TensorFile } from "../containers/container.ts";
import type { Section } from "../stream/conversion.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import {
  copiedTensor,
  droppedTensor,
  kept,
  type Written,
} from "../stream/tensor-sections.ts";
import { elementCount, type TensorRange } from "../tensor.ts";
import { checkScales, findFloat8, type Float8Tensor } from "./fp8-scales.ts";
import { mostHeld } from "./paired-parts.ts";
import { fromFloat8, loadScales, type Scaling } from "./float8-sections.ts";

type Woven = {
  tensors: Written[];
  /** The most bytes held for pairs at once. */
  heldBytes: number;
};

export type FloatView = {
  /** The file with F8 tensors as F32, at their stored byte ranges, and without their scales. */
  file: TensorFile;
  /** The tensor as stored. */
  stored: (tensor: TensorRange) => TensorRange;
  /** Whether it has a scale. */
  isScaled: (tensor: TensorRange) => boolean;
  /** Output for all tensors of the file, given `parts` for those of the view; for undefined parts, `stays`. */
  weave: (
    parts: readonly (Written | undefined)[],
    pool: HoldPool,
    stays?: (tensor: TensorRange) => Written,
  ) => Woven;
};

/** `meant` selects the tensors to be converted. Errors: those of `findFloat8` and `checkScales` */
export function floatView(
  file: TensorFile,
  meant: (name: string) => boolean,
): FloatView {
  // A GGUF has no such types.
  const found = file.target.isPlain ? [] : findFloat8(file.tensors);
  checkScales(found, meant);
  const byWeight = new Map(found.map((each) => [each.weight, each]));
  const scales = new Set(
    found.flatMap(({ scale, inputScale }) => [scale?.tensor, inputScale]),
  );
  const storedOf = new Map<TensorRange, TensorRange>();
  const tensors = file.tensors.flatMap((tensor): TensorRange[] => {
    if (scales.has(tensor as never)) return [];
    const own = byWeight.has(tensor)
      ? { ...tensor, dtype: "F32" as const }
      : tensor;
    storedOf.set(own, tensor);
    return [own];
  });
  const stored = (tensor: TensorRange) => storedOf.get(tensor) ?? tensor;
  return {
    file: { ...file, tensors },
    stored,
    isScaled: (tensor) => byWeight.get(stored(tensor))?.scale !== undefined,
    weave(parts, pool, stays = copiedTensor) {
      const written = new Map<TensorRange, Written>();
      const holds: Hold[] = [];
      tensors.forEach((tensor, i) => {
        const part = parts[i];
        if (part === undefined) return;
        const own = byWeight.get(stored(tensor));
        if (own === undefined) written.set(stored(tensor), part);
        else holds.push(...woven(own, part, written, pool, tensors.length + i));
      });
      return {
        tensors: file.tensors.map(
          (tensor) => written.get(tensor) ?? stays(tensor),
        ),
        heldBytes: mostHeld(file.tensors, heldOf(holds)),
      };
    },
  };
}

type Hold = { from: TensorRange; until: TensorRange };

/** Adds the output for a weight and its scales to `written`. Holds bytes as number `hold` of `pool`. */
function woven(
  { weight, type, scale, inputScale }: Float8Tensor,
  part: Written,
  written: Map<TensorRange, Written>,
  pool: HoldPool,
  hold: number,
): Hold[] {
  const { heads } = part;
  const bytes = bytesOf(weight);
  const inner = () => part.open();
  if (inputScale) written.set(inputScale, droppedTensor(inputScale));
  if (!scale) {
    const open = () => fromFloat8(inner(), type);
    written.set(weight, { bytes, open, heads });
    return [];
  }
  const { tensor, grid } = scale;
  const scaleBytes = bytesOf(tensor);
  const { shape } = weight;
  const scaled = (held: () => Uint8Array): Section => {
    const count = elementCount(grid.counts);
    const values = () => loadScales(tensor.dtype, held(), count);
    const scaling: Scaling = { shape, grid, values };
    return fromFloat8(inner(), type, scaling);
  };
  const isScaleFirst = tensor.start < weight.start;
  const [from, until] = isScaleFirst ? [tensor, weight] : [weight, tensor];
  const heldBytes = bytesOf(from);
  const held = () => pool.bytes(hold, heldBytes);
  written.set(from, {
    bytes: heldBytes,
    open: () => kept(heldBytes, pool, hold),
    heads: [],
  });
  const release = () => pool.release(hold);
  written.set(until, {
    bytes: bytesOf(until),
    open: () =>
      isScaleFirst
        ? endingWith(scaled(held), release)
        : atOnce(held, scaleBytes, scaled, release),
    heads,
  });
  return [{ from, until }];
}

function bytesOf({ start, end }: TensorRange): number {
  return end - start;
}

function endingWith(section: Section, end: () => void): Section {
  return {
    ...section,
    *convert(piece, bytes) {
      yield* section.convert(piece, bytes);
      if (piece === section.pieces - 1) end();
    },
  };
}

/** Converts a held weight when its `scaleBytes` have arrived. */
function atOnce(
  weight: () => Uint8Array,
  scaleBytes: number,
  scaled: (scales: () => Uint8Array) => Section,
  end: () => void,
): Section {
  return {
    pieces: 1,
    pieceBytes: () => scaleBytes,
    *convert(_, scales) {
      const section = scaled(() => scales);
      let start = 0;
      for (let piece = 0; piece < section.pieces; piece++) {
        const next = start + section.pieceBytes(piece);
        yield* section.convert(piece, weight().subarray(start, next));
        start = next;
      }
      section.release?.();
      end();
    },
  };
}

/** For each held tensor: its bytes, and the tensor until which it is held. */
function heldOf(holds: readonly Hold[]) {
  return new Map(
    holds.map(({ from, until }) => [from, { bytes: bytesOf(from), until }]),
  );
}
