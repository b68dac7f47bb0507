/** A run so small that a page, or a command, sees its steps and its end within seconds. */
import type { RunRequest } from "../../src/api/run-config.ts";

/** Over the dataset "text". */
export function tinyRun(
  run: string,
  changes: Partial<RunRequest> = {},
): RunRequest {
  return {
    run,
    dataset: "text",
    model: { layers: 1, width: 64, heads: 1, context: 64 },
    steps: 8,
    microbatches: 1,
    sequences: 1,
    ...changes,
  };
}
