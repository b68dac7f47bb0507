import { Hono } from "hono";
import { expect, test, vi } from "vitest";
import * as z from "zod";
import { AppError } from "../../src/api/errors.ts";
import { readBody, readValid } from "../../src/http/body.ts";
import { answerError } from "../../src/http/errors.ts";
import { ORIGIN, problemOf, send } from "./support.ts";

/** An app of one route, for what no real route can be made to do. */
function appOf(handler: (c: never) => unknown): Hono {
  const app = new Hono();
  app.onError(answerError);
  app.all("/", handler as never);
  return app;
}

test("healthz says that the Worker answers", async () => {
  const response = await send("/healthz");
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({ status: "ok" });
});

test("an unknown path is a 404 problem that names it", async () => {
  const problem = await problemOf(
    await send("/v1/nothing"),
    404,
    "route_not_found",
  );
  expect(problem.detail).toContain("GET /v1/nothing");
  expect(problem.instance).toBe("/v1/nothing");
});

test("a known path with another method is a 405 that lists the methods", async () => {
  const response = await send("/v1/quantize", { method: "PUT" });
  expect(response.headers.get("Allow")).toBe("POST");
  const problem = await problemOf(response, 405, "method_not_allowed");
  expect(problem.detail).toContain("POST");
});

test("HEAD answers as GET does, without a body", async () => {
  const response = await send("/healthz", { method: "HEAD" });
  expect(response.status).toBe(200);
  expect(await response.text()).toBe("");
});

test("a bug is logged and answered with a bare 500", async () => {
  const log = vi.spyOn(console, "error").mockImplementation(() => {});
  const app = appOf(() => {
    throw new Error("the secret of line 12");
  });
  const response = await app.request(ORIGIN);
  expect(response.status).toBe(500);
  expect(response.headers.get("Content-Type")).toBe("application/problem+json");
  expect(await response.json()).toEqual({
    type: "about:blank",
    title: "Internal Server Error",
    status: 500,
  });
  expect(log).toHaveBeenCalledOnce();
  log.mockRestore();
});

test.each([
  ["step_not_reached", 425],
  ["unavailable", 503],
] as const)("%s is a %i with Retry-After", async (code, status) => {
  const app = appOf(() => {
    throw new AppError(code, "Expected more patience");
  });
  const response = await app.request(ORIGIN);
  expect(response.headers.get("Retry-After")).toBe("1");
  await problemOf(response, status, code);
});

test("an object's failure that the platform calls retryable is a 503", async () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  const app = appOf(() => {
    throw Object.assign(new Error("Network connection lost."), {
      retryable: true,
    });
  });
  const response = await app.request(ORIGIN);
  expect(response.status).toBe(503);
  expect(response.headers.get("Retry-After")).toBe("1");
  expect(warn).toHaveBeenCalledOnce();
  warn.mockRestore();
});

test("one that the platform calls overloaded is no invitation to repeat it soon", async () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  const app = appOf(() => {
    throw Object.assign(new Error("Durable Object is overloaded."), {
      retryable: true,
      overloaded: true,
    });
  });
  const response = await app.request(ORIGIN);
  expect(await problemOf(response, 503, "overloaded")).toBeDefined();
  expect(response.headers.get("Retry-After")).toBe("30");
  expect(warn).toHaveBeenCalledOnce();
  warn.mockRestore();
});

const bodyApp = appOf(async (c) => {
  const bytes = await readBody(c, 8);
  return new Response(
    `${bytes.length} ${bytes.buffer.byteLength} ${bytes.join("")}`,
  );
});

/** A body without Content-Length, in these chunks. */
function chunked(...sizes: number[]): RequestInit {
  const body = new ReadableStream({
    start(controller) {
      for (const size of sizes)
        controller.enqueue(new Uint8Array(size).fill(7));
      controller.close();
    },
  });
  return { method: "POST", body };
}

test("a body up to the bound arrives whole, in a buffer of its own", async () => {
  const whole = await bodyApp.request(ORIGIN, {
    method: "POST",
    body: new Uint8Array(8).fill(7),
  });
  expect(await whole.text()).toBe("8 8 77777777");
  const parts = await bodyApp.request(ORIGIN, chunked(3, 1, 4));
  expect(await parts.text()).toBe("8 8 77777777");
  const short = await bodyApp.request(ORIGIN, chunked(1, 2));
  expect(await short.text()).toBe("3 3 777");
  const none = await bodyApp.request(ORIGIN, { method: "POST" });
  expect(await none.text()).toBe("0 0 ");
});

test("a declared length past the bound is refused before the body is read", async () => {
  let pulled = false;
  const body = new ReadableStream(
    {
      pull() {
        pulled = true;
      },
    },
    { highWaterMark: 0 },
  );
  const response = await bodyApp.request(ORIGIN, {
    method: "POST",
    body,
    headers: { "Content-Length": "9" },
  });
  const problem = await problemOf(response, 413, "body_too_large");
  expect(problem.detail).toBe("Expected a body of at most 8 bytes, got 9");
  expect(pulled).toBe(false);
});

test("a chunked body is refused as soon as it passes the bound", async () => {
  await problemOf(
    await bodyApp.request(ORIGIN, chunked(4, 4, 1)),
    413,
    "body_too_large",
  );
});

test("a Content-Length that is no number is refused", async () => {
  const init = { ...chunked(4), headers: { "Content-Length": "four" } };
  await problemOf(await bodyApp.request(ORIGIN, init), 400, "malformed_body");
});

const jsonApp = appOf(async (c) => {
  const schema = z.strictObject({
    a: z.strictObject({ b: z.number().min(1) }),
  });
  return Response.json(await readValid(c, schema));
});

test("JSON of the schema is parsed", async () => {
  const body = '{"a":{"b":2}}';
  const response = await jsonApp.request(ORIGIN, { method: "POST", body });
  expect(await response.json()).toEqual({ a: { b: 2 } });
});

test.each(["", "{", "{'a':1}", new Uint8Array([0x22, 0xff, 0x22])])(
  "what is not JSON is a 400: %s",
  async (body) => {
    const response = await jsonApp.request(ORIGIN, { method: "POST", body });
    await problemOf(response, 400, "malformed_json");
  },
);

test.each([
  ['{"a":{"b":"x"}}', "`a.b`", 'got "x"'],
  ['{"a":{"b":0}}', "`a.b`", "got 0"],
  ['{"a":{}}', "`a.b`", "got nothing"],
  ['{"a":{"b":1},"c":1}', "`body`", "got"],
  ['{"a":{"b":1},"__proto__":1}', "`body`", "got `__proto__`"],
  ['{"a":{"b":1,"__proto__":{"b":2}}}', "`body`", "got `__proto__`"],
  ["7", "`body`", "got 7"],
])(
  "JSON of another shape is a 422 that names the path: %s",
  async (body, path, got) => {
    const response = await jsonApp.request(ORIGIN, { method: "POST", body });
    const { detail } = await problemOf(response, 422, "invalid_config");
    expect(detail).toContain(path);
    expect(detail).toContain(got);
  },
);
