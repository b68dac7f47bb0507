/** Completes a request to a `RunConfig`. */
import { AppError } from "../api/errors.ts";
import {
  changedOptimizer,
  completeOptimizer,
  optimizerProblems,
} from "../api/optimizer.ts";
import type { PinnedDataset } from "../api/dataset.ts";
import { type PinnedModel, type RunConfig } from "../api/run-config.ts";
import { completeShape } from "../model/architectures.ts";
import type { CheckpointConfig } from "./checkpoint.ts";
import type { ImportedRun } from "./imported-model.ts";
import { resumedAt, resumeProblems, checkpointedRun } from "./resumed.ts";
import { DEFAULTS, type ParsedRunRequest } from "./run-request.ts";
import { subtreeProblems } from "./subtrees.ts";
import {
  shapeProblems,
  shardingOf,
  vocabularyProblems,
  importProblems,
  dataProblems,
} from "./config-problems.ts";

/** The model that a run starts from, and where it is stored. */
export type ImportedRequest = ImportedRun & { from: PinnedModel };

/**
 * The configuration of a run over `dataset`. Checks every rule that involves several fields. Errors:
 * `invalid_config`, listing all problems
 */
export function completeConfig(
  request: ParsedRunRequest,
  dataset: PinnedDataset,
  imported?: ImportedRequest,
): RunConfig {
  const before = request.resume
    ? checkpointedRun(request, imported)
    : undefined;
  const told = request.optimizer ?? {};
  const optimizer = before
    ? changedOptimizer(before.config.optimizer, told)
    : completeOptimizer(told);
  const { shards: askedShards, ...filled } = withBase(
    { ...request, optimizer },
    before?.config ?? DEFAULTS,
  );
  const model =
    imported?.shape ??
    completeShape({
      ...DEFAULTS.model,
      ...definedOf(request.model ?? {}),
      vocabulary: dataset.vocabulary,
    });
  const shape = shapeProblems({ ...filled, model });
  const sharding = shape.canBe ? shardingOf(model, askedShards) : undefined;
  const problems = [
    ...shape.problems,
    ...(sharding?.problems ?? []),
    ...(imported
      ? importProblems(request, dataset, imported.shape)
      : vocabularyProblems(dataset, request.model?.vocabulary)),
    ...dataProblems(dataset, model),
    ...subtreeProblems(filled),
    ...optimizerProblems(told, optimizer, filled.steps),
    ...(before ? resumeProblems(filled, before) : []),
  ];
  if (!sharding || problems.length > 0) {
    throw new AppError("invalid_config", problems.join("; "));
  }
  const config: RunConfig = {
    ...filled,
    model,
    dataset,
    ...(imported && { from: imported.from }),
    shards: sharding.shards,
  };
  return before && imported
    ? {
        ...config,
        from: { ...imported.from, resumed: resumedAt(before, config) },
      }
    : config;
}

type Base = Omit<
  RunConfig,
  "dataset" | "from" | "model" | "shards" | "optimizer" | "snapshotSteps"
> & { snapshotSteps?: number };

/** The request's values, and those of `base` for what it leaves out. */
function withBase(
  request: ParsedRunRequest & Pick<RunConfig, "optimizer">,
  base: Base,
) {
  const {
    run: _run,
    name: _name,
    dataset: _dataset,
    from: _from,
    resume: _resume,
    ...rest
  } = request;
  const { model: _model, optimizer, evaluation, ...flat } = rest;
  const {
    dataset: _before,
    from: _origin,
    ...own
  } = base as Base & Partial<CheckpointConfig>;
  return {
    ...own,
    snapshotSteps: DEFAULTS.snapshotSteps,
    ...definedOf(flat),
    optimizer,
    evaluation: { ...base.evaluation, ...definedOf(evaluation ?? {}) },
  };
}

type Defined<T> = { [Key in keyof T]: Exclude<T[Key], undefined> };

function definedOf<T extends object>(values: T): Defined<T> {
  const entries = Object.entries(values).filter(
    ([, value]) => value !== undefined,
  );
  return Object.fromEntries(entries) as Defined<T>;
}
