/** A body is what it stands for: packed, or a part of what is meant, it is refused, and nothing of it is kept. */
import { expect, test } from "vitest";
import type { Route } from "../../src/http/declaration/route.ts";
import { pathParameters } from "../../src/http/declaration/route.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { problemOf, send } from "./support.ts";

const BODY = new Uint8Array(64).fill(7);
const taking = ROUTES.filter(({ body }) => body).map(
  (route) => [route.id, route] as const,
);

function examplePath({ path }: Route): string {
  const examples = pathParameters(path);
  return path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String(examples[name]!.example)),
  );
}

function sendTo(route: Route, headers: Record<string, string>) {
  return send(examplePath(route), {
    method: route.method.toUpperCase(),
    body: BODY,
    headers: { "Content-Length": `${BODY.length}`, ...headers },
  });
}

test("there are routes that take a body", () => {
  expect(taking.length).toBeGreaterThan(15);
});

test.each(taking)(
  "%s takes none that is packed, nor a part of one",
  async (_, route) => {
    for (const encoding of ["gzip", "br", "identity, gzip"]) {
      const refused = await sendTo(route, { "Content-Encoding": encoding });
      const problem = await problemOf(refused, 415, "unsupported_media_type");
      expect(problem.detail).toContain(`"${encoding}"`);
    }
    const refused = await sendTo(route, { "Content-Range": "bytes 0-63/128" });
    const problem = await problemOf(refused, 400, "malformed_body");
    expect(problem.detail).toContain("bytes 0-63/128");
  },
);

test("a part, or what is packed, never takes the place of a stored file", async () => {
  const put = (headers: Record<string, string>) =>
    send("/v1/files/kept", {
      method: "PUT",
      body: BODY,
      headers: { "Content-Length": `${BODY.length}`, ...headers },
    });
  const stored = async () => {
    const response = await send("/v1/files/kept");
    return [response.status, response.headers.get("ETag")];
  };
  await put({ "Content-Encoding": "gzip" });
  expect((await stored())[0]).toBe(404);
  expect((await put({ "Content-Encoding": "identity" })).status).toBe(201);
  const before = await stored();
  await put({ "Content-Range": "bytes 64-127/128" });
  expect(await stored()).toEqual(before);
});
