/** What stands in the paths of routes, by the names that it has there. */
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

/** What a frame's header holds. */
export const U32 = { kind: "whole", least: 0, most: 2 ** 32 - 1 } as const;

export const PATH_PARAMETERS = {
  name: named("Of a dataset", "a dataset's name", "invalid_name"),
  file: {
    ...named(
      "Its name, with those of the folders that it lies in and slashes, which a form encodes as %2F",
      "a file's name",
      "invalid_name",
      FILE_NAME,
    ),
    example: "example/model.safetensors",
  },
  folder: named("Its name", "a folder's name", "invalid_name", FILE_NAME),
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

/** As the router has a declared path. */
export function patternOf(path: string): string {
  return path.replace(/\{(\w+)\}/g, ":$1");
}

const FILES_PATH = "/v1/files/";
const FOLDERS_PATH = "/v1/folders/";

/**
 * What the router matches: the path, in which slashes of a file's name count as encoded. Behind the last
 * `/uploads/` stands an upload of a file, so that a name with this in it has its slashes encoded.
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

/** What stands in a request's path in the place of {name}. Errors: `invalid_name` for bytes that are no UTF-8 */
export function textInPath(c: Context, name: string): string | undefined {
  const text = c.req.param(name);
  const { path } = c.req;
  // The router leaves as it is what it cannot decode, which would be another name.
  if ((name === "file" || name === "folder") && !isEncoded(path)) {
    throw new AppError(
      "invalid_name",
      `Expected a path of percent-encoded UTF-8, got ${path}`,
    );
  }
  return text;
}

/** Whether a part of a URL has nothing but percent-encoded UTF-8. */
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

/** A name by a rule; one that does not follow it is refused as `code`. */
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
      // Of characters there are no more than of bytes.
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
