/** A checkpoint with a rotation folded into it: its tensors, their changes, and its config. */
import { AppError } from "../api/errors.ts";
import { type Fold, foldPlan } from "../formats/folding/fold-plan.ts";
import type { FoldedTensor } from "../formats/folding/folded-sections.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import { type DecodedDtype, loadFloats } from "../formats/dtype.ts";
import { compareNames, elementCount } from "../formats/tensor.ts";
import { kernels } from "../kernels/runtime.ts";
import type { Checkpoint, CheckpointTensor } from "./checkpoint.ts";

/** The factors of each norm, by its tensor's name. */
export type Norms = ReadonlyMap<string, Float32Array>;

/** The norms' tensors, which are small and read first. */
export type NormsOf = {
  norms: readonly CheckpointTensor[];
  normOffset: 0 | 1;
};

export type FoldedCheckpoint = NormsOf & {
  /** Includes a separate head if it was tied; it is read from the token table. */
  tensors: readonly CheckpointTensor[];
  config: ModelConfig;
  /** How a tensor is folded; undefined if it is unchanged. */
  foldOf(
    tensor: CheckpointTensor,
    seed: number,
    norms: Norms,
  ): FoldedTensor | undefined;
};

const FOLDED_DTYPES: readonly string[] = ["F32", "F16", "BF16"];

/**
 * Errors: `invalid_option` for a model whose results it would change, `unsupported_dtype` for tensors that are not
 * floats
 */
export function foldCheckpoint(checkpoint: Checkpoint): FoldedCheckpoint {
  const { folds, head, normOffset, config } = foldPlan(
    checkpoint.tensors,
    checkpoint.config ?? {},
  );
  const own = new Map(folds);
  const tensors = [...checkpoint.tensors];
  if (head) {
    const source = tensors.find(({ name }) => name === head.source)!;
    tensors.push({ ...source, name: head.name });
    own.set(head.name, head.fold);
  }
  const changed = tensors.filter(({ name }) => changes(own.get(name)));
  for (const { name, dtype } of changed) {
    if (FOLDED_DTYPES.includes(dtype)) continue;
    throw new AppError(
      "unsupported_dtype",
      `Expected ${FOLDED_DTYPES.join(", ")} to fold a rotation into, got tensor "${name}" of ${dtype}`,
    );
  }
  const taken = new Set([...own.values()].flatMap(({ norm }) => norm ?? []));
  return {
    tensors: tensors.sort((a, b) => compareNames(a.name, b.name)),
    config,
    norms: tensors.filter(({ name }) => taken.has(name)),
    normOffset,
    foldOf({ name, dtype, shape }, seed, norms) {
      const fold = own.get(name);
      if (!fold || !changes(fold)) return undefined;
      const norm = fold.norm === undefined ? undefined : norms.get(fold.norm);
      if (fold.norm !== undefined && !norm)
        throw new Error(`Expected the norm ${fold.norm} to have been read`);
      return { shape, dtype: dtype as DecodedDtype, fold, seed, norm };
    },
  };
}

function changes(fold: Fold | undefined): boolean {
  return fold !== undefined && Object.keys(fold).length > 0;
}

/** Reads the norms; `read` returns a tensor's bytes. */
export async function readNorms(
  { norms, normOffset }: NormsOf,
  read: (tensor: CheckpointTensor) => Promise<Uint8Array>,
): Promise<Norms> {
  const found = new Map<string, Float32Array>();
  for (const tensor of norms)
    found.set(tensor.name, normOf(tensor, await read(tensor), normOffset));
  return found;
}

/** A norm's factors, from its tensor's bytes. */
function normOf(
  { dtype, shape }: CheckpointTensor,
  bytes: Uint8Array,
  offset: 0 | 1,
): Float32Array {
  const { arena } = kernels();
  const length = elementCount(shape);
  return arena.scope(() => {
    const x = arena.allocF32(length);
    loadFloats(x, dtype as DecodedDtype, bytes);
    return arena.f32(x, length).map((weight) => weight + offset);
  });
}
