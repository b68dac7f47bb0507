/** The OpenAPI 3.1 description of a route. */
import { encodeBase64 } from "hono/utils/encode";
import { type ErrorCode, PROBLEMS } from "../../api/errors.ts";
import type { Described, JsonSchema } from "./parameter.ts";
import {
  type Access,
  type Answer,
  type Body,
  type Example,
  pathParameters,
  queryParameters,
  type Route,
} from "./route.ts";

const JSON_TYPE = "application/json";
const BINARY = "application/octet-stream";

/** Security schemes that grant access, alternatives of each other. */
const SECURITY: Record<Access, object[]> = {
  open: [],
  owner: [{ token: [] }],
  trainer: [{ token: [] }, { joinToken: [] }],
};

/** Errors due to load: for tensor routes memory, for others the objects that they call. */
function hindrancesOf({ access, tag }: Route): readonly ErrorCode[] {
  if (access === "open") return [];
  if (tag === "tensors") return ["unavailable"];
  return ["state_version", "unavailable", "overloaded"];
}

/** The operation object (OpenAPI 3.1.1 §4.8.10). */
export function describeOperation(route: Route): object {
  const { id, tag, access, summary, description, body, examples = {} } = route;
  const parameters = [
    ...describeParameters("path", pathParameters(route.path)),
    ...describeParameters("query", queryParameters(route)),
    ...describeParameters("header", route.headers),
  ];
  const requests = Object.entries(examples).map(([name, example]) => [
    name,
    describeExample(example),
  ]);
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    security: SECURITY[access],
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body ? { requestBody: describeBody(body, examples) } : {}),
    responses: {
      ...describeAnswers(route.answers),
      ...describeErrors(errorsOf(route)),
      default: { $ref: "#/components/responses/Problem" },
    },
    ...(requests.length > 0
      ? { "x-examples": Object.fromEntries(requests) as object }
      : {}),
  };
}

function describeParameters(
  place: "path" | "query" | "header",
  parameters: Record<string, Described> = {},
): object[] {
  return Object.entries(parameters).map(
    ([name, { description, schema, required, repeats, example }]) => ({
      name,
      in: place,
      description,
      ...(required ? { required } : {}),
      schema: repeats ? { type: "array", items: schema } : schema,
      ...(example === undefined ? {} : { example }),
    }),
  );
}

/**
 * An example's request without its path, as an extension: OpenAPI's own examples are per parameter, so that forms would
 * combine several, and would send bytes as text.
 */
function describeExample({ summary, query, headers, body }: Example): object {
  return {
    summary,
    ...(query && { query }),
    ...(headers && { headers }),
    ...(body instanceof Uint8Array && {
      base64: encodeBase64(body.slice().buffer),
    }),
  };
}

function describeBody(
  { description, json }: Body,
  examples: Record<string, Example>,
): object {
  const values = Object.entries(examples).flatMap(
    ([name, { summary, body: value }]) =>
      json && value !== undefined ? [[name, { summary, value }]] : [],
  );
  return {
    description,
    required: true,
    content: {
      [json ? JSON_TYPE : BINARY]: {
        schema: json
          ? reference(json.id)
          : { type: "string", format: "binary" },
        ...(values.length > 0 ? { examples: Object.fromEntries(values) } : {}),
      },
    },
  };
}

function describeAnswers(answers: Record<number, Answer>): object {
  const entries = Object.entries(answers).map(
    ([status, { description, json, type, headers }]) => {
      const media = json ? [JSON_TYPE] : [type ?? []].flat();
      const schema = json ? reference(json.id) : {};
      return [
        status,
        {
          description,
          ...(headers ? { headers: describeHeaders(headers) } : {}),
          ...(media.length > 0 && {
            content: Object.fromEntries(
              media.map((each) => [each, { schema }]),
            ),
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

/** Errors of all such routes, of path parameters and of JSON; then the route's own. */
export function errorsOf(route: Route): ErrorCode[] {
  const { access, path, body, errors = [] } = route;
  const general: ErrorCode[] = [
    ...(access === "open" ? [] : (["unauthorized"] as const)),
    "forbidden",
    ...hindrancesOf(route),
    "invalid_option",
    ...(body ? (["unsupported_media_type", "malformed_body"] as const) : []),
    ...Object.values(pathParameters(path)).flatMap(
      ({ refusal }) => refusal ?? [],
    ),
    ...(body?.json
      ? ([
          "malformed_json",
          "body_too_large",
          body.code ?? "invalid_config",
        ] as const)
      : []),
  ];
  return [...new Set([...general, ...errors])];
}

/** A response per status, with its possible codes. */
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
            properties: {
              status: { const: Number(status) },
              code: { enum: group },
            },
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
