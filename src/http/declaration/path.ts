/** What stands in the paths of routes, by the names that it has there. */
import { AppError, type ErrorCode } from "../../api/errors.ts";
import { NAME_PATTERN, RUN_PATTERN } from "../../training/config.ts";
import { oneOf, type Parameter, wholeNumber } from "./parameter.ts";

/** What a frame's header holds. */
export const U32 = { most: 2 ** 32 - 1, code: "invalid_number" } as const;

export const PATH_PARAMETERS = {
  name: named("Of a dataset", "dataset name", "invalid_name"),
  file: {
    ...named("Its name", "file name", "invalid_name"),
    example: "example.safetensors",
  },
  // What cannot be the id of a job or a run is that of one which does not exist.
  job: named("Its id", "job id", "job_not_found"),
  run: named("Its id", "run id", "run_not_found", RUN_PATTERN),
  kind: { ...oneOf("Of the lease", ["train", "eval"]), example: "eval" },
  step: { ...wholeNumber("Of the lease", U32), example: 0 },
  index: { ...wholeNumber("Of the lease", U32), example: 0 },
  shard: { ...wholeNumber("From 0", U32), example: 0 },
  microbatch: { ...wholeNumber("Of the lease", U32), example: 0 },
} satisfies Record<string, Parameter>;

export type PathName = keyof typeof PATH_PARAMETERS;

function named(
  description: string,
  what: string,
  code: ErrorCode,
  pattern = NAME_PATTERN,
): Parameter<string> {
  return {
    description,
    schema: { type: "string", pattern: pattern.source },
    example: "example",
    read([value = ""]) {
      if (pattern.test(value)) return value;
      throw new AppError(
        code,
        `Expected a ${what} that matches ${pattern.source}, got "${value}"`,
      );
    },
  };
}
