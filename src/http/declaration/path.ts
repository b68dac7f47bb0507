/** What stands in the paths of routes, by the names that it has there. */
import type { Context } from "hono";
import { AppError, type ErrorCode } from "../../api/errors.ts";
import { choice, type Whole } from "../../api/option-kinds.ts";
import {
  FILE_NAME,
  FOLDER_NAME,
  NAME,
  RUN_ID,
  type TextRule,
  TOKEN_ID,
} from "../../api/text-rules.ts";
import { type Parameter, required } from "./parameter.ts";

/** What a frame's header holds. */
const U32 = { kind: "whole", least: 0, most: 2 ** 32 - 1 } as const;

export const PATH_PARAMETERS = {
  name: named("Of a dataset", "a dataset's name", "invalid_name"),
  file: {
    ...named(
      "Its name, or that of its folder, a slash (%2F where a form encodes it) and its own",
      "a file's name",
      "invalid_name",
      FILE_NAME,
    ),
    example: "example/model.safetensors",
  },
  folder: named("Its name", "a folder's name", "invalid_name", FOLDER_NAME),
  upload: {
    ...named("Its id: the two sizes", "an upload's id", "upload_not_found"),
    example: "1000-5242880",
  },
  part: { ...number("From 1"), example: 1 },
  // What cannot be the id of a job or a run is that of one which does not exist.
  job: named("Its id", "a job's id", "job_not_found"),
  run: named("Its id", "a run's id", "run_not_found", RUN_ID),
  token: {
    ...named(
      "Its id, or its number in the order in which the run issued them, from 1",
      "a join token's id",
      "token_not_found",
      TOKEN_ID,
    ),
    example: "1",
  },
  kind: required(choice(["train", "eval"], "Of the lease"), "train"),
  step: number("Of the lease"),
  index: number("Of the lease"),
  shard: number("From 0"),
  microbatch: number("Of the lease"),
};

export type PathName = keyof typeof PATH_PARAMETERS;

/** As the router has a declared path: a {file} that lies in a folder has two segments. */
export function patternsOf(path: string): string[] {
  const pattern = path.replace(/\{(\w+)\}/g, ":$1");
  const inFolder = pattern.replace(":file", ":inFolder/:file");
  return inFolder === pattern ? [pattern] : [pattern, inFolder];
}

/** What stands in a request's path in the place of {name}. */
export function textInPath(c: Context, name: string): string | undefined {
  const text = c.req.param(name);
  const folder = name === "file" ? c.req.param("inFolder") : undefined;
  return folder === undefined ? text : `${folder}/${text}`;
}

function number(text: string): Parameter<number> {
  return required<Whole>({ ...U32, text }, 0, "invalid_number");
}

/** A name of a few signs; one that is no such name is refused as `code`. */
export function named(
  description: string,
  what: string,
  code: ErrorCode,
  { pattern, words }: TextRule = NAME,
): Parameter<string> {
  return {
    description,
    schema: { type: "string", pattern: pattern.source },
    required: true,
    example: "example",
    read(value = "") {
      if (pattern.test(value)) return value;
      throw new AppError(code, `Expected ${what} of ${words}, got "${value}"`);
    },
  };
}
