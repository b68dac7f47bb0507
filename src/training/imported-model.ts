/**
 * Reads a transformers directory or a run's checkpoint: the model's shape, its parameters in the order of the flat
 * vector, and, of a `state=full` checkpoint, the optimizer state.
 */
import { AppError } from "../api/errors.ts";
import type { ModelShape } from "../api/run-config.ts";
import {
  type CheckpointTensor,
  CONFIG_FILE,
  isOptimizers,
} from "../checkpoints/checkpoint.ts";
import {
  byOwnName,
  checkSame,
  takeTiedHead,
} from "../checkpoints/model-tensors.ts";
import { withoutFused } from "../checkpoints/fused-tensors.ts";
import { checkLayers } from "../checkpoints/config-sizes.ts";
import { type Folder, readFolder } from "../checkpoints/read-heads.ts";
import { isFloat } from "../formats/dtype.ts";
import {
  architectureOf,
  importedShape,
  modelOf,
} from "../model/architectures.ts";
import type { ParameterTensor } from "../model/parameters.ts";
import { type CheckpointConfig, momentName, writtenRun } from "./checkpoint.ts";
import { momentsOf } from "./optimizer.ts";
import type { StateReader } from "./shard-state.ts";
import { readCheckpointConfig, type CheckpointedRun } from "./resumed.ts";
import {
  isBlocks,
  readElements,
  shapeInModel,
  type StoredParameter,
} from "./imported-tensor.ts";

export type ImportedRun = {
  shape: ModelShape;
  /** Only of a `state=full` checkpoint. */
  run: CheckpointedRun | undefined;
  /** The checkpoint's tokenizer.json, unless its tokens are bytes. */
  tokenizer: string | undefined;
};

export type ImportedModel = ImportedRun & {
  /** Padding is 0. Not to be called inside an arena scope. */
  read: StateReader;
};

/**
 * Errors: `invalid_config` for a model that this project computes differently or not at all; `shape_mismatch`,
 * `unsupported_dtype` for tensors that do not belong to the model
 */
export async function openModel(folder: Folder): Promise<ImportedModel> {
  const checkpoint = await readFolder(folder);
  const { tensors, ggml = [], config, metadata } = checkpoint;
  const written = writtenRun(metadata ?? new Map());
  const isNeeded = written && (!config || written.tokens !== undefined);
  const run = isNeeded
    ? { ...written, config: readCheckpointConfig(written.config) }
    : undefined;
  checkLayers(checkpoint);
  const shape = config ? importedShape(config) : run?.config.model;
  if (shape === undefined)
    throw new AppError(
      "invalid_config",
      `Expected ${CONFIG_FILE}, or the checkpoint of a run, got neither`,
    );
  const { table } = modelOf(shape);
  const fused = config ? architectureOf(shape).fusedIn(config) : {};
  const own = tensors.filter(({ name }) => !isOptimizers(name));
  const parameters = await parametersOf(
    folder,
    [...withoutFused(own, fused), ...ggml],
    shape,
  );
  const moments = new Map(
    tensors
      .filter(({ name }) => isOptimizers(name))
      .map((tensor) => [tensor.name, tensor]),
  );
  return {
    shape,
    run: run && stateIn(run, table.tensors, moments),
    tokenizer: written?.tokenizer,
    async read(start, end, moment) {
      const vector = new Float32Array(end - start);
      for (const { name, offset, length } of table.tensors) {
        const tensor =
          moment === undefined
            ? parameters.get(name)
            : moments.get(momentName(moment, name));
        const from = Math.max(start, offset);
        const to = Math.min(end, offset + length);
        if (from >= to) continue;
        const part = [from - offset, to - offset] as const;
        const out = vector.subarray(from - start, to - start);
        const file = await folder.open(tensor!.file);
        await readElements(file, tensor!, part, out);
      }
      return vector;
    },
  };
}

/** The model's parameters by their names in the table; none may be missing or left over. Errors: as `openModel` */
async function parametersOf(
  folder: Folder,
  tensors: readonly StoredParameter[],
  shape: ModelShape,
): Promise<ReadonlyMap<string, StoredParameter>> {
  const architecture = architectureOf(shape);
  const { prefix, name: kind } = architecture;
  const byName = byOwnName(tensors, prefix);
  const twice = takeTiedHead(byName, architecture.tiedHead(shape));
  if (twice) await checkSame(folder, twice);
  const others = new Map(byName);
  for (const { name, shape: expected } of modelOf(shape).table.tensors) {
    check(name, expected, byName.get(name));
    others.delete(name);
  }
  const other = [...others.values()].find(
    ({ name }) => !architecture.notRead.test(name),
  );
  if (other === undefined) return byName;
  throw new AppError(
    "invalid_config",
    `Expected only tensors of a ${kind}, got "${other.name}" too`,
  );
}

/** The state to resume from, checked; undefined for a checkpoint without optimizer state. */
function stateIn(
  {
    config,
    step,
    tokens,
    results,
  }: {
    config: CheckpointConfig;
    step?: number | undefined;
    tokens?: number | undefined;
    results?: string | undefined;
  },
  tensors: readonly ParameterTensor[],
  moments: ReadonlyMap<string, CheckpointTensor>,
): CheckpointedRun | undefined {
  if (tokens === undefined) return undefined;
  for (const { name, group, shape } of tensors) {
    for (const moment of momentsOf(config.optimizer, group)) {
      const own = momentName(moment, name);
      check(own, shape, moments.get(own));
    }
  }
  for (const [key, count] of Object.entries({ step, tokens })) {
    if (Number.isSafeInteger(count) && count! >= 0) continue;
    throw new AppError(
      "malformed_body",
      `Expected \`mxfp4-edge.${key}\` in the checkpoint's metadata to be a whole number, got ${count}`,
    );
  }
  if (results !== undefined && !/^[0-9a-f]{64}$/.test(results))
    throw new AppError(
      "malformed_body",
      `Expected \`mxfp4-edge.results\` in the checkpoint's metadata to be a SHA-256 in hexadecimal, got "${results}"`,
    );
  return { config, step: step!, tokens, results };
}

function check(
  name: string,
  expected: readonly number[],
  found: StoredParameter | undefined,
): void {
  const shape = found && shapeInModel(found);
  if (!found || shape?.join() !== expected.join())
    throw new AppError(
      "shape_mismatch",
      `Expected "${name}" of [${expected.join(", ")}], got ${shape ? `[${shape.join(", ")}]` : "none"}`,
    );
  if (!isBlocks(found) && !isFloat(found.dtype))
    throw new AppError(
      "unsupported_dtype",
      `Expected "${name}" of floats, got ${found.dtype}`,
    );
}
