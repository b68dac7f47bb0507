/** Linear layers with a common input that a file stores as one, with the rows of all: Phi-3's q, k and v, gate and up. */
import { AppError } from "../api/errors.ts";
import { quoted } from "../formats/containers/malformed.ts";
import type { CheckpointTensor } from "./checkpoint.ts";

/** By the fused layer's name within a layer: those of its parts, in order, with their rows. */
export type FusedLayers = Readonly<
  Record<string, readonly (readonly [name: string, rows: number])[]>
>;

/**
 * The parts instead of the fused tensors: weights, biases, and elements and scales of blocks, each with the rows first.
 * Errors: `shape_mismatch` for other numbers of rows
 */
export function withoutFused(
  tensors: readonly CheckpointTensor[],
  fused: FusedLayers,
): CheckpointTensor[] {
  return tensors.flatMap((tensor) => {
    for (const [name, parts] of Object.entries(fused)) {
      const [before, after] = tensor.name.split(`.${name}.`);
      if (after === undefined) continue;
      return partsOf(tensor, parts, (own) => `${before}.${own}.${after}`);
    }
    return [tensor];
  });
}

function partsOf(
  tensor: CheckpointTensor,
  parts: FusedLayers[string],
  nameOf: (part: string) => string,
): CheckpointTensor[] {
  const [rows = 0, ...others] = tensor.shape;
  const total = parts.reduce((sum, [, own]) => sum + own, 0);
  if (rows !== total)
    throw new AppError(
      "shape_mismatch",
      `Expected ${quoted(tensor.name)} with ${total} rows, those of ${parts.map(([name, own]) => `${name} (${own})`).join(", ")}, got [${tensor.shape.join(", ")}]`,
    );
  const rowBytes = (tensor.end - tensor.start) / rows;
  let { start } = tensor;
  return parts.map(([name, own]) => {
    const end = start + own * rowBytes;
    const part = {
      ...tensor,
      name: nameOf(name),
      shape: [own, ...others],
      start,
      end,
    };
    start = end;
    return part;
  });
}
