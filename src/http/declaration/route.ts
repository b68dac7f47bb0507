/** A route, declared once: path, access, input, answers and handler. `app.ts` serves it; `openapi.ts` describes it. */
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

/** Everyone; holders of the API_TOKEN; also holders of a join token, on routes of its run or of none. */
export type Access = "open" | "owner" | "trainer";

/** JSON of a schema; or bytes, which the handler reads. */
export type Body<S extends z.ZodType = z.ZodType> = {
  description: string;
  json?: NamedSchema<S>;
  /** Code if the schema is violated; default `invalid_config`. */
  code?: ErrorCode;
};

/** A successful answer: JSON of a schema, bytes of one or several media types, or nothing. */
export type Answer = {
  description: string;
  json?: NamedSchema;
  type?: string | readonly string[];
  /** Headers that are always present. */
  headers?: Record<string, string>;
};

/**
 * A complete request. Its name is shared by parameters and body. Bytes are sent as they are, everything else as JSON.
 */
export type Example = {
  summary: string;
  query?: Record<string, string | number>;
  headers?: Record<string, string>;
  body?: unknown;
};

type Description = {
  /** Name of the client's method. */
  id: string;
  method: "get" | "post" | "put" | "patch" | "delete";
  /** With {names} of `PATH_PARAMETERS`. */
  path: string;
  tag: string;
  access: Access;
  summary: string;
  description?: string;
  /** Options of an operation, in the query. */
  options?: Options;
  /** Other query parameters. */
  query?: Record<string, Parameter>;
  headers?: Record<string, Parameter>;
  body?: Body;
  answers: Record<number, Answer>;
  errors?: readonly ErrorCode[];
  examples?: Record<string, Example>;
};

/** A route without the types of its values. */
export type Route = Description & {
  /** Checks and executes the request. */
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

/** The parameters of a path with {names}. */
export function pathParameters(path: string): Record<string, Parameter> {
  const names = path.match(/(?<=\{)\w+(?=\})/g) ?? [];
  return Object.fromEntries(
    names.map((name) => [name, PATH_PARAMETERS[name as PathName]]),
  );
}

/** All query parameters of a route. */
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

/** The values by name. Errors: `invalid_option` for unknown names, repeated ones that may not be, and invalid UTF-8 */
function textsOfQuery(
  c: Context,
  known: Record<string, Described>,
): (name: string) => readonly string[] {
  const { search } = new URL(c.req.url);
  // Hono leaves text that it cannot decode encoded, which would be another text.
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
