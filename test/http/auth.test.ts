import { describe, expect, test } from "vitest";
import { joinToken, readJoinToken } from "../../src/http/auth.ts";
import type { Env } from "../../src/http/env.ts";
import { envWith, problemOf, send } from "./support.ts";

/** A path that no route has: 404 means that the caller was let in. */
const PATH = "/v1/nothing";
const CLAIM = { id: "a1-7", expiresMs: Date.now() + 60_000 };
const SECRET = { LOCAL_MODE: undefined, API_TOKEN: "secret-of_8787" };

function withHeaders(
  headers: Record<string, string>,
  changes: Partial<Env> = {},
) {
  return send(PATH, { headers }, changes);
}

function bearer(
  token: string,
  method: string,
  path: string,
  changes: Partial<Env> = SECRET,
) {
  return send(
    path,
    { method, headers: { Authorization: `Bearer ${token}` } },
    changes,
  );
}

describe("without API_TOKEN and LOCAL_MODE", () => {
  const nobody = { LOCAL_MODE: undefined, API_TOKEN: undefined };

  test.each([PATH, "/v1/quantize", "/v1/runs"])(
    "%s is a 401 that says how to set it",
    async (path) => {
      const response = await send(path, {}, nobody);
      expect(response.headers.get("WWW-Authenticate")).toBe("Bearer");
      const problem = await problemOf(response, 401, "unauthorized");
      expect(problem.detail).toContain("wrangler secret put API_TOKEN");
    },
  );

  test("a token of the empty secret opens nothing", async () => {
    for (const secret of [nobody, { ...nobody, API_TOKEN: "" }]) {
      await problemOf(
        await bearer("", "GET", PATH, secret),
        401,
        "unauthorized",
      );
      await expect(joinToken(envWith(secret), "r1", CLAIM)).rejects.toThrow(
        "API_TOKEN",
      );
    }
  });

  test('LOCAL_MODE is on only as "1"', async () => {
    const response = await send(PATH, {}, { ...nobody, LOCAL_MODE: "0" });
    await problemOf(response, 401, "unauthorized");
  });

  test("healthz still answers", async () => {
    expect((await send("/healthz", {}, nobody)).status).toBe(200);
  });
});

describe("in local mode", () => {
  test.each([
    "127.0.0.1:8787",
    "localhost:1",
    "[::1]:8787",
    "LOCALHOST",
    "127.0.0.1",
  ])("Host %s is let in", async (host) => {
    await problemOf(await withHeaders({ Host: host }), 404, "route_not_found");
  });

  test.each([
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil:8787",
    "0.0.0.0:8787",
    "192.168.1.2",
    "",
  ])("Host %s is a 403", async (host) => {
    const problem = await problemOf(
      await withHeaders({ Host: host }),
      403,
      "forbidden",
    );
    expect(problem.detail).toContain(`"${host}"`);
  });

  test("a foreign name in the URL is a 403, whatever Host says", async () => {
    const { app } = await import("../../src/http/app.ts");
    const init = { headers: { Host: "127.0.0.1" } };
    const response = await app.request(
      "http://evil.example/healthz",
      init,
      envWith(),
    );
    await problemOf(response, 403, "forbidden");
  });

  test("the own Origin is let in", async () => {
    const headers = { Host: "127.0.0.1:8787", Origin: "http://127.0.0.1:8787" };
    await problemOf(await withHeaders(headers), 404, "route_not_found");
  });

  test.each([
    "http://evil.example",
    "null",
    "http://127.0.0.1:9999",
    "https://127.0.0.1:8787",
    "http://127.0.0.1:8787.evil.example",
  ])("Origin %s is a 403", async (origin) => {
    const headers = { Host: "127.0.0.1:8787", Origin: origin };
    const problem = await problemOf(
      await withHeaders(headers),
      403,
      "forbidden",
    );
    expect(problem.detail).toContain(origin);
  });

  test("an API_TOKEN is asked for where there is one", async () => {
    const changes = { API_TOKEN: "x" };
    await problemOf(await withHeaders({}, changes), 401, "unauthorized");
    await problemOf(
      await bearer("x", "GET", PATH, changes),
      404,
      "route_not_found",
    );
  });
});

describe("with API_TOKEN", () => {
  test("the token opens every route, from any Host and Origin", async () => {
    const headers = {
      Authorization: "Bearer secret-of_8787",
      Host: "mxfp4.example",
      Origin: "https://page.example",
    };
    const changes = { LOCAL_MODE: undefined, API_TOKEN: "secret-of_8787" };
    await problemOf(
      await withHeaders(headers, changes),
      404,
      "route_not_found",
    );
  });

  test.each([
    ["no header", {}],
    ["another scheme", { Authorization: "Basic c2VjcmV0" }],
    ["no token", { Authorization: "Bearer " }],
    ["another token", { Authorization: "Bearer other" }],
    ["a prefix", { Authorization: "Bearer secre" }],
    ["more than the token", { Authorization: "Bearer secret1" }],
  ])("%s is a 401", async (_, headers) => {
    const changes = { LOCAL_MODE: undefined, API_TOKEN: "secret" };
    const response = await withHeaders(
      headers as Record<string, string>,
      changes,
    );
    expect(response.headers.get("WWW-Authenticate")).toBe("Bearer");
    const problem = await problemOf(response, 401, "unauthorized");
    expect(problem.detail).not.toContain("secret1");
  });
});

describe("a join token", () => {
  const env = envWith(SECRET);

  test("names its run and its id until it expires", async () => {
    const { expiresMs } = CLAIM;
    const token = await joinToken(env, "a-run.of-dots", CLAIM);
    expect(await readJoinToken(env, token, expiresMs - 1)).toEqual({
      run: "a-run.of-dots",
      id: "a1-7",
    });
    expect(await readJoinToken(env, token, expiresMs)).toBeUndefined();
  });

  test("does not survive any change", async () => {
    const token = await joinToken(env, "r1", CLAIM);
    const [, , id, expiry, signature] = token.split(".");
    const forged = [
      `join.r2.${id}.${expiry}.${signature}`,
      `join.r1.a1-8.${expiry}.${signature}`,
      `join.r1.${id}.${Number(expiry) + 1}.${signature}`,
      `join.r1.${expiry}.${signature}`,
      token.slice(0, -1),
      `${token}A`,
      `join.r1.${id}.${expiry}.`,
      `join.r1.${id}.${expiry}`,
    ];
    for (const each of forged)
      expect(await readJoinToken(env, each)).toBeUndefined();
    const other = envWith({ ...SECRET, API_TOKEN: "another" });
    expect(await readJoinToken(other, token)).toBeUndefined();
  });

  test("of local mode is worth nothing where there is a secret", async () => {
    const local = envWith({ API_TOKEN: undefined });
    const token = await joinToken(local, "r1", CLAIM);
    await problemOf(
      await bearer(token, "GET", "/v1/runs/r1"),
      401,
      "unauthorized",
    );
  });

  test.each([
    ["GET", "/v1/runs/r1"],
    ["POST", "/v1/runs/r1/leases"],
    ["PUT", "/v1/runs/r1/leases/train/0/1"],
    ["GET", "/v1/runs/r1/shards/0/parameters?step=3"],
    ["PUT", "/v1/runs/r1/shards/0/gradients/3/1"],
    ["GET", "/v1/datasets/text/tokens"],
  ])("opens %s %s", async (method, path) => {
    const token = await joinToken(env, "r1", CLAIM);
    const response = await bearer(token, method, path);
    expect([401, 403]).not.toContain(response.status);
    await response.body?.cancel();
  });

  test.each([
    ["GET", "/v1/runs/r2"],
    ["GET", "/v1/runs"],
    ["POST", "/v1/runs"],
    ["DELETE", "/v1/runs/r1"],
    ["PATCH", "/v1/runs/r1"],
    ["POST", "/v1/runs/r1/trainers"],
    ["GET", "/v1/runs/r1/tokens"],
    ["PATCH", "/v1/runs/r1/tokens/a1-7"],
    ["GET", "/v1/runs/r1/checkpoint"],
    ["POST", "/v1/runs/r2/leases"],
    ["PUT", "/v1/runs/r2/shards/0/gradients/3/1"],
    ["GET", "/v1/runs/r2/shards/0/parameters"],
    ["PUT", "/v1/datasets/text"],
    ["DELETE", "/v1/datasets/text"],
    ["POST", "/v1/quantize"],
    ["GET", "/v1/runs/r1/../r2"],
  ])("does not open %s %s", async (method, path) => {
    const token = await joinToken(env, "r1", CLAIM);
    await problemOf(await bearer(token, method, path), 403, "forbidden");
  });
});
