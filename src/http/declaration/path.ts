/** What stands in the paths of routes, by the names that it has there. */
import { AppError, type ErrorCode } from "../../api/errors.ts";
import { choice, type Whole } from "../../api/option-kinds.ts";
import { NAME_PATTERN, RUN_PATTERN } from "../../training/config.ts";
import { type Parameter, required } from "./parameter.ts";

/** What a frame's header holds. */
const U32 = { kind: "whole", least: 0, most: 2 ** 32 - 1 } as const;

export const PATH_PARAMETERS = {
  name: named("Of a dataset", "dataset name", "invalid_name"),
  file: {
    ...named("Its name", "file name", "invalid_name"),
    example: "example.safetensors",
  },
  upload: {
    ...named("Its id: the two sizes", "upload id", "upload_not_found"),
    example: "1000-5242880",
  },
  part: { ...number("From 1"), example: 1 },
  // What cannot be the id of a job or a run is that of one which does not exist.
  job: named("Its id", "job id", "job_not_found"),
  run: named("Its id", "run id", "run_not_found", RUN_PATTERN),
  kind: required(choice(["train", "eval"], "Of the lease"), "eval"),
  step: number("Of the lease"),
  index: number("Of the lease"),
  shard: number("From 0"),
  microbatch: number("Of the lease"),
};

export type PathName = keyof typeof PATH_PARAMETERS;

function number(text: string): Parameter<number> {
  return required<Whole>({ ...U32, text }, 0, "invalid_number");
}

function named(
  description: string,
  what: string,
  code: ErrorCode,
  pattern = NAME_PATTERN,
): Parameter<string> {
  return {
    description,
    schema: { type: "string", pattern: pattern.source },
    required: true,
    example: "example",
    read(value = "") {
      if (pattern.test(value)) return value;
      throw new AppError(
        code,
        `Expected a ${what} that matches ${pattern.source}, got "${value}"`,
      );
    },
  };
}
