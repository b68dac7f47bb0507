/** The description against the routes; test/node/openapi.test.ts sends its examples. */
import { expect, test } from "vitest";
import { app } from "../../src/http/app.ts";
import type { Parameter } from "../../src/http/openapi-operation.ts";
import { OPERATIONS } from "../../src/http/openapi.ts";
import { problemOf, send } from "./support.ts";

test("every route is described, and every description is a route", () => {
  const routes = app.routes
    .filter(({ method }) => method !== "ALL")
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`);
  const described = OPERATIONS.map(
    ({ method, path }) => `${method.toUpperCase()} ${path}`,
  );
  expect(described.toSorted()).toEqual([...new Set(routes)].toSorted());
});

test("operations have names of their own", () => {
  const ids = OPERATIONS.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});

test.each(OPERATIONS.filter(({ isOpen }) => isOpen))(
  "$id needs no token, as described",
  async ({ path }) => {
    const response = await send(path, {}, { API_TOKEN: "secret" });
    expect(response.status).toBe(200);
  },
);

test.each(OPERATIONS.filter(({ isOpen }) => !isOpen))(
  "$id needs a token, as described",
  async ({ method, path }) => {
    const init = { method: method.toUpperCase() };
    const response = await send(path, init, { API_TOKEN: "secret" });
    await problemOf(response, 401, "unauthorized");
  },
);

const withQuery = OPERATIONS.flatMap((operation) => {
  const query = (operation.parameters ?? []).filter(
    (parameter) => parameter.in === "query",
  );
  return query.length > 0 ? [{ ...operation, query }] : [];
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
    const described = operation.query.map(({ name }) => name);
    expect(names.toSorted()).toEqual([...described, "other"].toSorted());
  },
);

const choices = withQuery.flatMap((operation) =>
  operation.query
    .filter(({ schema }) => "enum" in schema)
    .map((parameter: Parameter) => ({ ...operation, parameter })),
);

test.each(choices)(
  "$id takes the described values of $parameter.name and no other",
  async (operation) => {
    const { name, schema } = operation.parameter;
    const both = name === "dtype" && operation.id !== "dequantize";
    const detail = await refusal(
      operation,
      `${name}=other${both ? "&shape=2" : ""}`,
    );
    expect(detail).toBe(
      `Expected \`${name}\` to be one of ${(schema.enum as string[]).join(", ")}, got "other"`,
    );
  },
);
