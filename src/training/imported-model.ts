/** A directory of transformers as a model of this project: its shape, and its parameters in the flat vector's order. */
import { AppError } from "../api/errors.ts";
import type { ModelShape } from "../api/types.ts";
import {
  type CheckpointTensor,
  CONFIG_FILE,
} from "../checkpoints/checkpoint.ts";
import { type Folder, readFolder } from "../checkpoints/read-heads.ts";
import { type FloatDtype, isFloat, loadFloats } from "../formats/dtype.ts";
import { kernels } from "../kernels/runtime.ts";
import { importedShape, modelOf } from "../model/architectures.ts";

/** Of a tensor that is read at a time. */
const WINDOW_ELEMENTS = 64 * 1024;
/** Masks that older files of GPT-2 hold, and the head that is its table of tokens. */
const NOT_READ = /(^|\.)attn\.(masked_)?bias$|^lm_head\.weight$/;

export type ImportedModel = {
  shape: ModelShape;
  /** f32 [end − start] of the flat vector, padding 0. Inside of no scope. */
  parameters: (
    start: number,
    end: number,
  ) => Promise<Float32Array<ArrayBuffer>>;
};

/**
 * Errors: `invalid_config` for a model that is computed otherwise; `shape_mismatch`, `unsupported_dtype` for tensors that
 * are none of it
 */
export async function openModel(folder: Folder): Promise<ImportedModel> {
  const { tensors, config } = await readFolder(folder);
  if (config === undefined)
    throw new AppError("invalid_config", `Expected ${CONFIG_FILE}, got none`);
  const shape = importedShape(config);
  const { table } = modelOf(shape);
  const found = new Map(tensors.map((tensor) => [nameOf(tensor), tensor]));
  for (const { name, shape: expected } of table.tensors) {
    check(name, expected, found.get(name));
    found.delete(name);
  }
  const [other] = [...found.keys()].filter((name) => !NOT_READ.test(name));
  if (other !== undefined)
    throw new AppError(
      "invalid_config",
      `Expected the tensors of a GPT-2, got "${other}" too`,
    );
  const byName = new Map(tensors.map((tensor) => [nameOf(tensor), tensor]));
  return {
    shape,
    async parameters(start, end) {
      const vector = new Float32Array(end - start);
      for (const { name, offset, length } of table.tensors) {
        const [from, to] = [
          Math.max(start, offset),
          Math.min(end, offset + length),
        ];
        for (let at = from; at < to; at += WINDOW_ELEMENTS) {
          const until = Math.min(at + WINDOW_ELEMENTS, to);
          const tensor = byName.get(name)!;
          const values = await floats(
            folder,
            tensor,
            at - offset,
            until - offset,
          );
          vector.set(values, at - start);
        }
      }
      return vector;
    },
  };
}

/** As a model's head has it: its body alone is stored without the name in front. */
function nameOf({ name }: CheckpointTensor): string {
  return /^(transformer|lm_head)\./.test(name) ? name : `transformer.${name}`;
}

function check(
  name: string,
  expected: readonly number[],
  found: CheckpointTensor | undefined,
): void {
  if (found === undefined || found.shape.join() !== expected.join())
    throw new AppError(
      "shape_mismatch",
      `Expected "${name}" of [${expected.join(", ")}], got ${found ? `[${found.shape.join(", ")}]` : "none"}`,
    );
  if (!isFloat(found.dtype))
    throw new AppError(
      "unsupported_dtype",
      `Expected "${name}" of floats, got ${found.dtype}`,
    );
}

async function floats(
  folder: Folder,
  { file, start, end, dtype, shape }: CheckpointTensor,
  from: number,
  to: number,
): Promise<Float32Array> {
  const width = (end - start) / shape.reduce((a, b) => a * b, 1);
  const opened = await folder.open(file);
  const bytes = await opened.read(start + width * from, start + width * to);
  const { arena } = kernels();
  return arena.scope(() => {
    const x = arena.allocF32(to - from);
    loadFloats(x, dtype as FloatDtype, bytes);
    return arena.f32(x, to - from).slice();
  });
}
