/**
 * How an operation of the API is described, and what OpenAPI 3.1 makes of it.
 *
 * Examples are named, and a name spans the operation: the parameters and the body that bear it make one
 * request, which a test sends. Bodies of bytes stand in `data:` URLs.
 */
import { encodeBase64 } from "hono/utils/encode";
import type { ErrorCode } from "../api/errors.ts";
import { PROBLEMS } from "./errors.ts";

/** As JSON Schema 2020-12 has them. */
export type JsonSchema = Record<string, unknown>;

export type Parameter = {
  name: string;
  in: "query" | "header";
  description: string;
  schema: JsonSchema;
  /** May come several times. */
  repeats?: true;
};

export type Example = {
  summary: string;
  query?: Record<string, string | number>;
  headers?: Record<string, string>;
  /** Bytes travel as they are, everything else as JSON. */
  body?: unknown;
};

/** A good answer: JSON of a named schema, bytes of a media type, or nothing. */
export type Answer = {
  description: string;
  json?: string;
  type?: string;
  /** Those that it always has. */
  headers?: Record<string, string>;
};

export type Operation = {
  /** The name of its method in the client. */
  id: string;
  method: "get" | "post" | "put" | "patch" | "delete";
  /** With {braces}. */
  path: string;
  tag: string;
  summary: string;
  description?: string;
  /** Needs no token. */
  isOpen?: true;
  parameters?: readonly Parameter[];
  body?: { description: string; json?: string; type?: string };
  answers: Record<number, Answer>;
  errors?: readonly ErrorCode[];
  examples?: Record<string, Example>;
};

export type PathParameters = Record<
  string,
  { description: string; schema: JsonSchema; example: string | number }
>;

/** The operation object (OpenAPI 3.1.1 §4.8.10). */
export function describeOperation(
  operation: Operation,
  pathParameters: PathParameters,
): object {
  const { id, tag, summary, description, isOpen, body } = operation;
  const names = [...operation.path.matchAll(/\{(\w+)\}/g)].map(
    ([, name]) => name!,
  );
  const parameters = [
    ...names.map((name) => ({
      name,
      in: "path",
      required: true,
      ...pathParameters[name],
    })),
    ...(operation.parameters ?? []).map((parameter) =>
      describeParameter(parameter, operation),
    ),
  ];
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    ...(isOpen ? { security: [] } : {}),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body ? { requestBody: describeBody(body, operation) } : {}),
    responses: {
      ...describeAnswers(operation.answers),
      ...describeErrors([
        ...(isOpen ? [] : (["unauthorized"] as const)),
        "forbidden",
        ...(operation.errors ?? []),
      ]),
      default: { $ref: "#/components/responses/Problem" },
    },
  };
}

function describeParameter(
  { name, in: place, description, schema, repeats }: Parameter,
  { examples = {} }: Operation,
): object {
  const values = Object.entries(examples).flatMap(([key, example]) => {
    const value = (place === "query" ? example.query : example.headers)?.[name];
    return value === undefined
      ? []
      : [[key, { value: repeats ? [value] : value }]];
  });
  return {
    name,
    in: place,
    description,
    schema: repeats ? { type: "array", items: schema } : schema,
    ...(values.length > 0 ? { examples: Object.fromEntries(values) } : {}),
  };
}

function describeBody(
  {
    description,
    json,
    type = "application/octet-stream",
  }: NonNullable<Operation["body"]>,
  { examples = {} }: Operation,
): object {
  const bodies = Object.entries(examples).flatMap(
    ([key, { summary, body }]) => {
      if (body === undefined) return [];
      const content =
        body instanceof Uint8Array
          ? { externalValue: `data:${type};base64,${base64(body)}` }
          : { value: body };
      return [[key, { summary, ...content }]];
    },
  );
  return {
    description,
    required: true,
    content: {
      [json === undefined ? type : "application/json"]: {
        schema: json === undefined ? {} : reference(json),
        ...(bodies.length > 0 ? { examples: Object.fromEntries(bodies) } : {}),
      },
    },
  };
}

function describeAnswers(answers: Operation["answers"]): object {
  const entries = Object.entries(answers).map(
    ([status, { description, json, type, headers }]) => {
      const media = json === undefined ? type : "application/json";
      return [
        status,
        {
          description,
          ...(headers ? { headers: describeHeaders(headers) } : {}),
          ...(media === undefined
            ? {}
            : {
                content: {
                  [media]: {
                    schema: json === undefined ? {} : reference(json),
                  },
                },
              }),
        },
      ];
    },
  );
  return Object.fromEntries(entries) as object;
}

function describeHeaders(headers: Record<string, string>): object {
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [
      name,
      { description, required: true, schema: { type: "string" } },
    ]),
  );
}

/** One response a status, with the codes that it may bear. */
function describeErrors(codes: readonly ErrorCode[]): object {
  const byStatus = Object.groupBy(codes, (code) => PROBLEMS[code][0]);
  const entries = Object.entries(byStatus).map(([status, group]) => [
    status,
    {
      description: group.map((code) => PROBLEMS[code][1]).join("; "),
      content: {
        "application/problem+json": {
          schema: {
            allOf: [reference("Problem")],
            properties: { code: { enum: group } },
          },
        },
      },
    },
  ]);
  return Object.fromEntries(entries) as object;
}

export function reference(schema: string): JsonSchema {
  return { $ref: `#/components/schemas/${schema}` };
}

function base64(bytes: Uint8Array): string {
  return encodeBase64(bytes.slice().buffer);
}
