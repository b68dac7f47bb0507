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

/** What tells who calls, and whether it is one whom a route may know. */
const CALLERS: [
  who: string,
  isKnown: boolean,
  () => Promise<string | undefined>,
][] = [
  ["nobody", false, () => Promise.resolve(undefined)],
  ["another token", false, () => Promise.resolve("another")],
  ["a forged join token", false, async () => `${await joinTokenOf("nobody")}x`],
  ["an expired join token", false, () => joinTokenOf("nobody", -1)],
  ["a join token", true, () => joinTokenOf("nobody")],
  ["a join token of another run", true, () => joinTokenOf("another")],
  ["the owner", true, () => Promise.resolve("secret")],
];

function joinTokenOf(run: string, leftMs = 60_000): Promise<string> {
  const claim = { id: "c-1", expiresMs: Date.now() + leftMs };
  return joinToken(envWith(CLOSED), run, claim);
}

/** What a path is too, for methods that it has not: a file of this name, a part of none. */
const ALSO: Record<string, string> = {
  "/v1/files/{file}/uploads": "/v1/files/{file}",
  "/v1/files/{file}/uploads/{upload}/complete":
    "/v1/files/{file}/uploads/{upload}/{part}",
};

const PATHS = [...new Set(ROUTES.map(({ path }) => path))];
const METHODS = ["get", "head", "post", "put", "patch", "delete", "options"];

test.each(CALLERS)(
  "what is no route, asked by %s, is told as that to who is known, by any method",
  async (_, isKnown, tokenOf) => {
    const token = await tokenOf();
    for (const path of [...PATHS, "/", "/v1", "/v1/nothing", "/v1/runs/a/b/c"])
      for (const method of METHODS) {
        const at = ROUTES.filter(
          (declared) =>
            declared.path === (ALSO[path] ?? path) || declared.path === path,
        );
        const as = method === "head" ? "get" : method;
        if (at.some((declared) => declared.method === as)) continue;
        const asked = `${method} ${path}`;
        const response = await call({ method, path }, CLOSED, token);
        const isOpen = at.some(({ access }) => access === "open");
        const expected =
          !isKnown && !isOpen ? 401 : at.length === 0 ? 404 : 405;
        expect(response.status, asked).toBe(expected);
        const allowed = METHODS.filter((each) =>
          at.some((route) => route.method === (each === "head" ? "get" : each)),
        );
        expect(response.headers.get("Allow"), asked).toBe(
          expected === 405 ? allowed.join(", ").toUpperCase() : null,
        );
        await response.body?.cancel();
      }
  },
);

test.each(ROUTES.filter(({ method }) => method === "get"))(
  "$id is asked for without its body by whoever may have it",
  async (declared) => {
    for (const [who, , tokenOf] of CALLERS) {
      const token = await tokenOf();
      const [got, head] = [
        await call(declared, CLOSED, token),
        await call({ ...declared, method: "head" }, CLOSED, token),
      ];
      expect(head.status, who).toBe(got.status);
      expect(await head.text()).toBe("");
      await got.body?.cancel();
    }
  },
);

test.each(ROUTES)("$id lets the owner in", async (declared) => {
  const response = await call(declared, CLOSED, "secret");
  expect([401, 403]).not.toContain(response.status);
  await response.body?.cancel();
});
