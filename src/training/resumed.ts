/** A run that goes on where a checkpoint of `state=full` was: with its optimizer's state, at its step. */
import { parsedObject } from "../api/json.ts";
import * as z from "zod";
import { AppError } from "../api/errors.ts";
import type { OptimizerConfig } from "../api/optimizer.ts";
import type { Resumed, RunConfig } from "../api/run-config.ts";
import { type CheckpointConfig, essentialConfig } from "./checkpoint.ts";
import {
  storedModelSchema,
  type ParsedRunRequest,
  runRequestSchema,
} from "./run-request.ts";

/** Where a checkpoint with all state has its run. */
export type CheckpointedRun = {
  config: CheckpointConfig;
  step: number;
  /** Trained on so far. */
  tokens: number;
  /** SHA-256 of what its steps have come to; an earlier release told none. */
  results?: string | undefined;
};

/** Errors: `invalid_config` where there is none to resume */
export function checkpointedRun(
  { from }: ParsedRunRequest,
  imported: { run?: CheckpointedRun | undefined } | undefined,
): CheckpointedRun {
  if (imported?.run) return imported.run;
  throw new AppError(
    "invalid_config",
    `Expected \`resume\` with \`from\` that names a checkpoint of \`state=full\`, got ${from === undefined ? "no `from`" : `"${from}" with parameters alone`}`,
  );
}

/** A run goes on where its checkpoint is, with the optimizer whose state it has. */
export function resumeProblems(
  { steps, optimizer }: { steps: number; optimizer: Partial<OptimizerConfig> },
  { step, config }: CheckpointedRun,
): string[] {
  const { name } = config.optimizer;
  return [
    ...(steps > step
      ? []
      : [
          `Expected more \`steps\` than the ${step} that the checkpoint has seen, got ${steps}`,
        ]),
    ...(optimizer.name === name
      ? []
      : [
          `Expected \`optimizer.name\` to be that of the checkpoint, whose state it is, ${name}, got ${optimizer.name}`,
        ]),
  ];
}

/** Where the run begins, and what its own checkpoints will say that it began from. */
export function resumedAt(
  { step, tokens, results, config: before }: CheckpointedRun,
  config: RunConfig,
): Resumed {
  const bare = ({ from: _from, ...rest }: CheckpointConfig) =>
    JSON.stringify(rest);
  const isSame = bare(essentialConfig(config)) === bare(before);
  const origin = isSame ? before.from?.digest : config.from?.digest;
  return {
    step,
    tokens,
    origin: origin ?? null,
    ...(isSame && results !== undefined && { results }),
  };
}

/**
 * What the metadata of a checkpoint says of its run, as it stands there: the order of its keys tells runs apart.
 * Errors: `malformed_body`
 */
export function readCheckpointConfig(json: string): CheckpointConfig {
  const config = parsed(json);
  const { dataset, from, model, ...request } = config as CheckpointConfig;
  const result = z
    .strictObject({
      request: runRequestSchema(),
      model: storedModelSchema(model),
      dataset: z.looseObject({ digest: z.string() }),
      from: z.strictObject({ digest: z.string() }).optional(),
    })
    .safeParse({
      request: { ...request, dataset: "any" },
      model,
      dataset,
      from,
    });
  if (result.success) return config as CheckpointConfig;
  const [issue] = result.error.issues;
  throw new AppError(
    "malformed_body",
    `Expected the config of a run in the checkpoint's metadata, got one with another \`${issue!.path.slice(1).map(String).join(".")}\`: ${issue!.message}`,
  );
}

function parsed(json: string): object {
  const value = parsedObject(json);
  if (value) return value;
  throw new AppError(
    "malformed_body",
    "Expected the config of a run in the checkpoint's metadata, got other text",
  );
}
