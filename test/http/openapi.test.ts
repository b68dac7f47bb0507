/** The description against the routes; test/node/openapi.test.ts sends its examples. */
import { expect, test } from "vitest";
import { app } from "../../src/http/app.ts";
import { patternOf } from "../../src/http/declaration/path.ts";
import { queryParameters } from "../../src/http/declaration/route.ts";
import { ROUTES } from "../../src/http/routes.ts";
import type { Document } from "../support/openapi.ts";
import { problemOf, send } from "./support.ts";

test("nothing but the declared routes is registered, and each of them is", () => {
  const registered = app.routes
    .filter(({ method }) => method !== "ALL")
    .map(({ method, path }) => `${method} ${path}`);
  const declared = ROUTES.map(
    ({ method, path }) => `${method.toUpperCase()} ${patternOf(path)}`,
  );
  expect(registered.toSorted()).toEqual(declared.toSorted());
});

test("operations have names of their own", () => {
  const ids = ROUTES.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});

test("a refusal's schema has its status, which readers see in their example", async () => {
  const response = await send("/openapi.json");
  const { paths } = await response.json<{
    paths: Record<
      string,
      Record<string, { responses: Record<string, Refusal> }>
    >;
  }>();
  const told = Object.values(paths)
    .flatMap((methods) => Object.values(methods))
    .flatMap(({ responses }) => Object.entries(responses))
    .filter(([status]) => status >= "400" && status < "600")
    .map(([status, { content }]) => [
      status,
      content["application/problem+json"].schema.properties.status.const,
    ]);
  expect(told.length).toBeGreaterThan(100);
  for (const [status, own] of told) expect(own).toBe(Number(status));
});

type Refusal = {
  content: {
    "application/problem+json": {
      schema: { properties: { status: { const: number } } };
    };
  };
};

const withQuery = ROUTES.flatMap((declared) => {
  const query = queryParameters(declared);
  return Object.keys(query).length > 0 ? [{ ...declared, query }] : [];
});

async function refusal(
  { method, path }: { method: string; path: string },
  query: string,
): Promise<string> {
  const url = `${path.replace(/\{\w+\}/g, "0")}?${query}`;
  const response = await send(url, {
    method: method.toUpperCase(),
    ...(method === "get" ? {} : { body: new Uint8Array(8) }),
  });
  return (await problemOf(response, 422, "invalid_option")).detail;
}

test.each(withQuery)(
  "$id takes the described query and no other",
  async (operation) => {
    const detail = await refusal(operation, "other=1&step=0");
    const names = [...detail.matchAll(/`([^`]+)`/g)].map(([, name]) => name);
    const described = Object.keys(operation.query);
    expect(names.toSorted()).toEqual([...described, "other"].toSorted());
  },
);

test("each operation answers as described, and says so, where the query has another name", async () => {
  const response = await send("/openapi.json");
  const { paths } = await response.json<Document>();
  for (const { id, method, path, ...declared } of ROUTES) {
    const detail = await refusal({ method, path }, "__proto__=1");
    const none = Object.keys(queryParameters(declared)).length === 0;
    expect(detail, id).toMatch(
      none ? /^Expected no query / : /^Expected query /,
    );
    const statuses = Object.keys(paths[path]![method]!.responses);
    expect(statuses, id).toContain("422");
    // What asks nothing else, and holds nothing, is never in want of either.
    expect(statuses.includes("503"), id).toBe(declared.access !== "open");
  }
});

const choices = withQuery.flatMap((operation) =>
  Object.entries(operation.query)
    .filter(([, { schema }]) => "enum" in schema)
    .map(([name, { schema }]) => ({
      ...operation,
      name,
      values: schema.enum as (string | number)[],
    })),
);

test.each(choices)(
  "$id takes the described values of $name and no other",
  async (operation) => {
    const { name, values } = operation;
    const both = name === "dtype" && operation.id !== "dequantize";
    const detail = await refusal(
      operation,
      `${name}=other${both ? "&shape=2" : ""}`,
    );
    expect(detail).toBe(
      `Expected \`${name}\` to be one of ${values.join(", ")}, got "other"`,
    );
  },
);
