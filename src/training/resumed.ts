/** Resuming a run from a `state=full` checkpoint: with its optimizer state, at its step. */
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

/** The run in a `state=full` checkpoint. */
export type CheckpointedRun = {
  config: CheckpointConfig;
  step: number;
  /** Tokens trained on so far. */
  tokens: number;
  /** SHA-256 over the results of its steps (results-digest.ts); earlier releases did not store it. */
  results?: string | undefined;
};

/** The run to resume. Errors: `invalid_config` if `from` has no optimizer state */
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

/** A resumed run needs more steps than its checkpoint has, and the same optimizer. */
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
          `Expected \`optimizer.name\` to be ${name}, whose state is in the checkpoint, got ${optimizer.name}`,
        ]),
  ];
}

/** Where the run starts, and the origin that its own checkpoints will record. */
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
 * Parses a run's config from a checkpoint's metadata, and keeps the order of its keys, since digests depend on it.
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
    `Expected the config of a run in the checkpoint's metadata, got one with an invalid \`${issue!.path.slice(1).map(String).join(".")}\`: ${issue!.message}`,
  );
}

function parsed(json: string): object {
  const value = parsedObject(json);
  if (value) return value;
  throw new AppError(
    "malformed_body",
    "Expected the config of a run in the checkpoint's metadata, got text that is not a JSON object",
  );
}
