/** Who may call what: every declared route, walked with each kind of token and with none. */
import { expect, test } from "vitest";
import { joinToken } from "../../src/http/auth.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { envWith, problemOf, send } from "./support.ts";

const CLOSED = { LOCAL_MODE: undefined, API_TOKEN: "secret" };
const NOBODY = { LOCAL_MODE: undefined, API_TOKEN: undefined };

/** Of values that its parameters take, but which nothing has. */
function pathOf(path: string): string {
  return path
    .replace("{kind}", "train")
    .replace("{run}", "nobody")
    .replace(/\{\w+\}/g, "1");
}

function call(
  { method, path }: { method: string; path: string },
  changes: object,
  token?: string,
): Promise<Response> {
  const headers: Record<string, string> =
    token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const init = { method: method.toUpperCase(), headers };
  return send(pathOf(path), init, changes);
}

test("open are the service's own routes and no other", () => {
  const open = ROUTES.filter(({ access }) => access === "open");
  expect(open.map(({ path }) => path)).toEqual([
    "/healthz",
    "/version",
    "/openapi.json",
  ]);
});

test.each(ROUTES)("$id without a token: $access", async (declared) => {
  for (const changes of [CLOSED, NOBODY]) {
    const response = await call(declared, changes);
    if (declared.access === "open") expect(response.status).toBe(200);
    else await problemOf(response, 401, "unauthorized");
  }
});

test.each(ROUTES)("$id with a join token: $access", async (declared) => {
  const claim = { id: "c-1", expiresMs: Date.now() + 60_000 };
  const token = await joinToken(envWith(CLOSED), "nobody", claim);
  const response = await call(declared, CLOSED, token);
  if (declared.access === "owner") await problemOf(response, 403, "forbidden");
  else expect([401, 403]).not.toContain(response.status);

  if (!declared.path.includes("{run}")) return;
  const other = await joinToken(envWith(CLOSED), "another", claim);
  await problemOf(await call(declared, CLOSED, other), 403, "forbidden");
});

test.each(ROUTES)("$id lets the owner in", async (declared) => {
  const response = await call(declared, CLOSED, "secret");
  expect([401, 403]).not.toContain(response.status);
  await response.body?.cancel();
});
