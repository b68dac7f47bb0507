/** The API's OpenAPI 3.1 description, generated from its routes. */
import * as z from "zod";
import { describeOperation, reference } from "./operation.ts";
import type { Route } from "./route.ts";
import {
  ANSWER_SCHEMAS,
  answerSchema,
  type NamedSchema,
  REQUEST_SCHEMAS,
} from "./schema.ts";

answerSchema("Problem", () =>
  z
    .object({
      type: z.string().describe("urn:mxfp4-edge:problem:<code>"),
      title: z.string(),
      status: z.int().min(400).max(599),
      detail: z.string().describe("What was expected and what came").optional(),
      instance: z.string().describe("Path of the request").optional(),
      code: z.string().optional(),
      requestId: z
        .string()
        .describe("The same as the response's `X-Request-Id`")
        .optional(),
    })
    .describe("RFC 9457"),
);

export function describe(routes: readonly Route[]): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    (paths[route.path] ??= {})[route.method] = describeOperation(route);
  }
  return {
    openapi: "3.1.1",
    info: {
      title: "mxfp4-edge",
      version: "1",
      description:
        "MXFP4 quantization, and training of small GPTs with 4-bit gradients. `x-examples` of an operation are whole requests: query, headers, and a body that is base64 of bytes or the body's example of the same name.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    security: [{ token: [] }],
    tags: [...new Set(routes.map(({ tag }) => tag))].map((tag) => ({
      name: tag,
    })),
    paths,
    components: {
      securitySchemes: {
        token: {
          type: "http",
          scheme: "bearer",
          description:
            "API_TOKEN, which opens every route. A local edge without API_TOKEN needs none",
        },
        joinToken: {
          type: "http",
          scheme: "bearer",
          description: "A run's join token, which opens its trainers' routes",
        },
      },
      schemas: {
        ...toJsonSchemas(REQUEST_SCHEMAS, "input"),
        ...toJsonSchemas(ANSWER_SCHEMAS, "output"),
      },
      responses: {
        Problem: {
          description: "What was expected and what came, or a bare 500",
          content: {
            "application/problem+json": { schema: reference("Problem") },
          },
        },
      },
    },
  };
}

/** Schemas that reference each other by name. */
function toJsonSchemas(
  schemas: readonly NamedSchema[],
  io: "input" | "output",
): object {
  const registry = z.registry<{ id: string }>();
  for (const schema of schemas) registry.add(schema(), { id: schema.id });
  const uri = (id: string) => `#/components/schemas/${id}`;
  const converted = z.toJSONSchema(registry, { io, uri });
  const entries = Object.entries(converted.schemas).map(
    // The keys already name the schemas.
    ([id, { $id: _id, $schema: _schema, ...schema }]) => [id, schema],
  );
  return Object.fromEntries(entries) as object;
}
