/**
 * A route, declared once: where it is, who may call it, what it takes and answers, and what it does.
 * `app.ts` authorizes, checks and calls by it; `openapi.ts` describes it.
 */
import type { Context } from "hono";
import type * as z from "zod";
import type { ErrorCode } from "../../api/errors.ts";
import {
  invalidOption,
  type Options,
  shown,
  type ValuesOf,
} from "../../api/option-kinds.ts";
import { readOptions } from "../../api/option-text.ts";
import { checkAsSent, readValid } from "../body.ts";
import type { AppEnv } from "../env.ts";
import {
  type Described,
  type Parameter,
  parametersOf,
  type ParameterValues,
} from "./parameter.ts";
import {
  isEncoded,
  PATH_PARAMETERS,
  type PathName,
  textInPath,
} from "./path.ts";
import type { NamedSchema } from "./schema.ts";

/** All; who has the API_TOKEN; and who has a join token too, where the route is of its run or of none. */
export type Access = "open" | "owner" | "trainer";

/** JSON of a schema, or bytes of a media type, which the handler reads. */
export type Body<S extends z.ZodType = z.ZodType> = {
  description: string;
  json?: NamedSchema<S>;
  /** Of a refusal by the schema; `invalid_config` unless told. */
  code?: ErrorCode;
};

/** A good answer: JSON of a schema, bytes of a media type or of one among some, or nothing. */
export type Answer = {
  description: string;
  json?: NamedSchema;
  type?: string | readonly string[];
  /** Those that it always has. */
  headers?: Record<string, string>;
};

/**
 * A whole request. Its name spans the parameters and the body. Bytes travel as they are, everything else
 * as JSON.
 */
export type Example = {
  summary: string;
  query?: Record<string, string | number>;
  headers?: Record<string, string>;
  body?: unknown;
};

type Description = {
  /** The name of its method in the client. */
  id: string;
  method: "get" | "post" | "put" | "patch" | "delete";
  /** With the {names} of `PATH_PARAMETERS`. */
  path: string;
  tag: string;
  access: Access;
  summary: string;
  description?: string;
  /** Of an operation, told in the query. */
  options?: Options;
  /** What else the query has. */
  query?: Record<string, Parameter>;
  headers?: Record<string, Parameter>;
  body?: Body;
  answers: Record<number, Answer>;
  errors?: readonly ErrorCode[];
  examples?: Record<string, Example>;
};

/** What is known of a route apart from the types of its values. */
export type Route = Description & {
  /** Check the request, and do what it asks. */
  answer: (c: Context<AppEnv>) => Promise<Response>;
};

type NamesIn<Path extends string> =
  Path extends `${string}{${infer Name}}${infer Rest}`
    ? Name | NamesIn<Rest>
    : never;
type PathValues<Path extends string> = ParameterValues<
  Pick<typeof PATH_PARAMETERS, NamesIn<Path> & PathName>
>;
type None = Record<never, never>;

export function route<
  Path extends string,
  S extends z.ZodType,
  O extends Options = None,
  Query extends Record<string, Parameter> = None,
  Headers extends Record<string, Parameter> = None,
>(
  declared: Description & {
    path: Path & (NamesIn<Path> extends PathName ? unknown : never);
    options?: O;
    query?: Query;
    headers?: Headers;
    body?: Body<S>;
    handle: (
      c: Context<AppEnv>,
      input: PathValues<Path> &
        ParameterValues<Query> &
        ParameterValues<Headers> & { body: z.output<S>; options: ValuesOf<O> },
    ) => Response | Promise<Response>;
  },
): Route {
  const { handle, ...description } = declared;
  const { path, options, query, headers, body } = description;
  return {
    ...description,
    async answer(c) {
      if (body) checkAsSent(c);
      const textsOf = textsOfQuery(c, queryParameters(description));
      const input = {
        ...read(pathParameters(path), (name) => textInPath(c, name)),
        ...(options && { options: readOptions(options, textsOf) }),
        ...read(query, (name) => textsOf(name)[0]),
        ...read(headers, (name) => c.req.header(name)),
        ...(body?.json && { body: await readValid(c, body.json(), body.code) }),
      };
      return handle(c, input as Parameters<typeof handle>[1]);
    },
  };
}

/** Those of a path with {names}. */
export function pathParameters(path: string): Record<string, Parameter> {
  const names = path.match(/(?<=\{)\w+(?=\})/g) ?? [];
  return Object.fromEntries(
    names.map((name) => [name, PATH_PARAMETERS[name as PathName]]),
  );
}

/** All that a route knows of a query. */
export function queryParameters({
  options = {},
  query,
}: Pick<Route, "options" | "query">): Record<string, Described> {
  return { ...parametersOf(options), ...query };
}

function read(
  parameters: Record<string, Parameter> = {},
  textOf: (name: string) => string | undefined,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, parameter]) => [
      name,
      parameter.read(textOf(name), name),
    ]),
  );
}

/**
 * What came under each name. Errors: `invalid_option` for names that the route does not know, for
 * those that came twice and may not, and for bytes that are no UTF-8
 */
function textsOfQuery(
  c: Context,
  known: Record<string, Described>,
): (name: string) => readonly string[] {
  const { search } = new URL(c.req.url);
  // Hono leaves as it is what it cannot decode, which would be another text.
  if (!isEncoded(search))
    throw invalidOption("a query of percent-encoded UTF-8", shown(search));
  const came = new Map(Object.entries(c.req.queries()));
  for (const [name, texts] of came) {
    const parameter = Object.hasOwn(known, name) ? known[name] : undefined;
    if (!parameter) {
      const all = Object.keys(known).map((each) => `\`${each}\``);
      throw invalidOption(
        all.length === 0
          ? "no query parameters"
          : `query parameters ${all.join(", ")}`,
        `\`${name}\``,
      );
    }
    if (texts.length > 1 && !parameter.repeats)
      throw invalidOption(`\`${name}\` once`, `it ${texts.length} times`);
  }
  return (name) => came.get(name) ?? [];
}
