/** The parameters in routes' paths, by name. */
import type { Context } from "hono";
import { getPath } from "hono/utils/url";
import { AppError, type ErrorCode } from "../../api/errors.ts";
import { choice, shown, type Whole } from "../../api/option-kinds.ts";
import {
  FILE_NAME,
  follows,
  NAME,
  RUN_ID,
  type TextRule,
  TOKEN_ID,
} from "../../api/text-rules.ts";
import { type Parameter, required } from "./parameter.ts";

/** The range of u32, as in a frame's header. */
export const U32 = { kind: "whole", least: 0, most: 2 ** 32 - 1 } as const;

export const PATH_PARAMETERS = {
  name: named("Name of the dataset", "a dataset's name", "invalid_name"),
  file: {
    ...named(
      "Name of the file, including its folders, separated by slashes; forms encode these as %2F",
      "a file's name",
      "invalid_name",
      FILE_NAME,
    ),
    example: "example/model.safetensors",
  },
  folder: named(
    "Name of the folder",
    "a folder's name",
    "invalid_name",
    FILE_NAME,
  ),
  upload: {
    ...named(
      "Id of the upload: the two sizes",
      "an upload's id",
      "upload_not_found",
    ),
    example: "1000-5242880",
  },
  part: { ...number("Part number, from 1"), example: 1 },
  // A syntactically invalid id of a job or a run is reported as unknown.
  job: named("Id of the job", "a job's id", "job_not_found"),
  run: named("Id of the run", "a run's id", "run_not_found", RUN_ID),
  token: {
    ...named(
      "Id of the join token, or its number in order of issue, from 1",
      "a join token's id",
      "token_not_found",
      TOKEN_ID,
    ),
    example: "1",
  },
  kind: required(choice(["train", "eval"], "Kind of the lease"), "train"),
  step: number("Step of the lease or the frame"),
  index: number("Index of the microbatch in the lease"),
  shard: number("Index of the shard, from 0"),
  microbatch: number("Index of the microbatch in the lease"),
};

export type PathName = keyof typeof PATH_PARAMETERS;

/** A declared path in the router's syntax. */
export function patternOf(path: string): string {
  return path.replace(/\{(\w+)\}/g, ":$1");
}

const FILES_PATH = "/v1/files/";
const FOLDERS_PATH = "/v1/folders/";

/**
 * The path to match: slashes of a file's name are encoded. After the last `/uploads/` comes an upload of a file, so a
 * file's name that contains it must have its slashes encoded by the client.
 */
export function routedPath(request: Pick<Request, "url" | "method">): string {
  const { pathname } = new URL(request.url);
  if (pathname.startsWith(FOLDERS_PATH))
    return FOLDERS_PATH + joined(pathname.slice(FOLDERS_PATH.length));
  if (!pathname.startsWith(FILES_PATH)) return getPath(request as Request);
  const rest = pathname.slice(FILES_PATH.length);
  const [, file = rest, upload = ""] =
    /^(.+)(\/uploads\/[^/]+(?:\/[^/]+)?)$/.exec(rest) ??
    (request.method === "POST" ? /^(.+)(\/uploads)$/.exec(rest) : null) ??
    [];
  return FILES_PATH + joined(file) + upload;
}

function joined(name: string): string {
  return name.replaceAll("/", "%2F");
}

/** The value of path parameter {name}. Errors: `invalid_name` for invalid UTF-8 */
export function textInPath(c: Context, name: string): string | undefined {
  const text = c.req.param(name);
  const { path } = c.req;
  // The router leaves text that it cannot decode encoded, which would be another name.
  if ((name === "file" || name === "folder") && !isEncoded(path)) {
    throw new AppError(
      "invalid_name",
      `Expected a path of percent-encoded UTF-8, got ${path}`,
    );
  }
  return text;
}

/** Whether a part of a URL is percent-encoded UTF-8. */
export function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function number(text: string): Parameter<number> {
  const refusal = "invalid_number";
  return { ...required<Whole>({ ...U32, text }, 0, refusal), refusal };
}

/** A name that follows a rule; errors have `code`. */
export function named(
  description: string,
  what: string,
  code: ErrorCode,
  rule: TextRule = NAME,
): Parameter<string> {
  const { pattern, words, maxBytes } = rule;
  return {
    description,
    schema: {
      type: "string",
      pattern: pattern.source,
      // A text has no more characters than bytes.
      ...(maxBytes !== undefined && { maxLength: maxBytes }),
    },
    required: true,
    example: "example",
    refusal: code,
    read(value = "") {
      if (follows(rule, value)) return value;
      throw new AppError(
        code,
        `Expected ${what} of ${words}, got ${shown(value)}`,
      );
    },
  };
}
