/**
 * The tensor in GGUFs of Llama 3.1 and later that divides the rotary frequency of each pair of channels; no key tells
 * it.
 */
import { AppError } from "../../api/errors.ts";
import type { TensorRange } from "../../formats/tensor.ts";
import type { RangedFile } from "../read-heads.ts";

export const ROPE_FACTORS = "rope_freqs.weight";
/** Above any model's number. */
const MAX_PAIRS = 4096;

/** Undefined if missing. Errors: `invalid_config` for another type or shape */
export async function ropeFactorsIn(
  ranges: readonly (TensorRange & { file: string })[],
  files: ReadonlyMap<string, RangedFile>,
): Promise<number[] | undefined> {
  const found = ranges.find(({ name }) => name === ROPE_FACTORS);
  if (!found) return undefined;
  const { dtype, shape, file, start, end } = found;
  if (dtype !== "F32" || shape.length !== 1 || shape[0]! > MAX_PAIRS)
    throw new AppError(
      "invalid_config",
      `Expected ${ROPE_FACTORS} to be F32 of one dimension, at most ${MAX_PAIRS}, got ${dtype} of [${shape.join(", ")}]`,
    );
  const bytes = await files.get(file)!.read(start, end);
  return Array.from(new Float32Array(bytes.slice().buffer));
}
