/** The docs page: its own assets, and a policy under which a browser asks nobody else. */
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Running, startEdge } from "../../src/local/edge.ts";

let folder: string;
let edge: Running;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-docs-test-"));
  edge = await startEdge({ stateFolder: folder, quiet: true, pages: true });
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function get(path: string): Promise<{ text: string; headers: Headers }> {
  const response = await fetch(edge.url + path);
  expect(response.status, path).toBe(200);
  return { text: await response.text(), headers: response.headers };
}

/** What a page or a script of ours names: paths of this server. */
function links(source: string): string[] {
  return [...source.matchAll(/(?:src|href|url)(?:=|: )"([^"]*)"/g)].map(
    ([, link]) => link!,
  );
}

test("the page and what it loads come from this server", async () => {
  const page = await get("/docs");
  expect(page.headers.get("Content-Type")).toMatch(/^text\/html/);
  // Ways to the other pages, which it does not load.
  const anchors = page.text.match(/<a\b[^>]*>/g) ?? [];
  const others = links(anchors.join(""));
  expect(others).toEqual(["/", "/", "/play", "/join", "/replay", "/docs"]);
  const loaded = links(page.text.replaceAll(/<a\b[^>]*>/g, "")).filter(
    (link) => link !== "data:,",
  );
  expect(loaded).toEqual([
    "/docs/swagger-ui.css",
    "/docs.css",
    "/docs/swagger-ui-bundle.js",
    "/docs.js",
  ]);
  for (const path of [...loaded, ...others]) {
    expect((await get(path)).text.length).toBeGreaterThan(0);
  }
  expect(links((await get("/docs.js")).text)).toEqual(["/openapi.json"]);
  JSON.parse((await get("/openapi.json")).text);
});

test("neither the page, its script nor its style names another origin", async () => {
  for (const path of [
    "/docs",
    "/docs.js",
    "/docs.css",
    "/docs/swagger-ui.css",
  ]) {
    const { text } = await get(path);
    // The names of XML's vocabularies in inline images are not fetched.
    const urls = text.match(/(?:https?:)?\/\/[\w-]+\.[^\s"')]+/g) ?? [];
    const others = urls.filter((url) => !url.includes("www.w3.org/"));
    expect(others, path).toEqual([]);
  }
});

test("the page's policy lets a browser load and call this server only", async () => {
  const { headers } = await get("/docs");
  const policy = headers.get("Content-Security-Policy") ?? "";
  const directives = policy.split("; ").map((each) => each.split(" "));
  expect(directives).toContainEqual(["default-src", "'none'"]);
  const sources = new Set(directives.flatMap(([, ...allowed]) => allowed));
  expect([...sources].toSorted()).toEqual(["'none'", "'self'", "data:"]);
  expect(directives.find(([name]) => name === "script-src")).toEqual([
    "script-src",
    "'self'",
  ]);
});

test("the page is open, and the API behind it still is not", async () => {
  const foreign = { headers: { Origin: "http://evil.example" } };
  expect((await fetch(`${edge.url}/docs`, foreign)).status).toBe(200);
  expect((await fetch(`${edge.url}/v1/runs`, foreign)).status).toBe(403);
});

test("the assets are those of the pinned package", () => {
  const root = join(import.meta.dirname, "../..");
  for (const file of ["swagger-ui-bundle.js", "swagger-ui.css"]) {
    const served = readFileSync(join(root, "public/docs", file));
    const pinned = readFileSync(
      join(root, "node_modules/swagger-ui-dist", file),
    );
    expect(served.equals(pinned), file).toBe(true);
  }
});

test("docs/service.md names the open routes", async () => {
  const { paths } = JSON.parse((await get("/openapi.json")).text) as {
    paths: Record<string, Record<string, { security: object[] }>>;
  };
  const open = Object.entries(paths).flatMap(([path, methods]) =>
    Object.values(methods).some(({ security }) => security.length === 0)
      ? [`\`${path}\``]
      : [],
  );
  const root = join(import.meta.dirname, "../..");
  const page = readFileSync(join(root, "docs/service.md"), "utf8");
  const [row] = page.match(/^\| open .*$/m) ?? [];
  expect(row?.match(/`[^`]+`/g)).toEqual(open);
});

/** A route as pages have it: method, if they tell it, path with … for a beginning that is known, and names in its query. */
const ROUTE =
  /`(?:(GET|HEAD|PUT|POST|PATCH|DELETE)\s+)?((?:\/v1|…|\/metrics|\/version|\/healthz)\/?[^\s`?]*)(?:\?([^\s`]*))?`/g;

type Parameter = { name: string; in: string };
type Paths = Record<string, Record<string, { parameters?: Parameter[] }>>;

/** A path with `by` in the place of each parameter, as pages and the description write them. */
function filled(path: string, by = "x"): string {
  return path.replaceAll(/\{[^}]*\}|(?<=\/):\w+/g, by);
}

/** What is wrong with the routes that a text names. */
function unknownRoutes(text: string, paths: Paths): string[] {
  const prose = text.replaceAll(/^```[^]*?^```$/gm, "");
  return [...prose.matchAll(ROUTE)]
    .filter(([, method, path]) => method || path!.startsWith("/"))
    .filter(([, method, path, query]) => {
      const by = method === "HEAD" ? "get" : method?.toLowerCase();
      const known = Object.entries(paths).filter(
        ([each, methods]) =>
          (path!.startsWith("…")
            ? filled(each).endsWith(filled(path!.slice(1)))
            : new RegExp(`^${filled(each, "[^/]+")}$`).test(filled(path!))) &&
          (by === undefined || by in methods),
      );
      const names = known
        .flatMap(([, methods]) => Object.values(methods))
        .flatMap(({ parameters = [] }) => parameters.map(({ name }) => name));
      const asked = [...new URLSearchParams(query ?? "").keys()];
      return known.length === 0 || asked.some((name) => !names.includes(name));
    })
    .map(([code]) => code);
}

test("pages name routes and parameters that there are", async () => {
  const { paths } = JSON.parse((await get("/openapi.json")).text) as {
    paths: Paths;
  };
  const wrong =
    "`GET /v1/rums`, `PUT …/tokens/{id}`, `/v1/analyze?compares=x`, `DELETE /v1/jobs/:job`, `GET …/tokens`";
  expect(unknownRoutes(wrong, paths)).toEqual(wrong.split(", ").slice(0, 3));
  const root = join(import.meta.dirname, "../..");
  const pages = ["README.md", ...globSync("docs/**/*.md", { cwd: root })];
  const faults = pages.flatMap((page) =>
    unknownRoutes(readFileSync(join(root, page), "utf8"), paths).map(
      (route) => `${page}: ${route}`,
    ),
  );
  expect(faults).toEqual([]);
});

test("docs/service.md names the metrics, and their labels", async () => {
  const root = join(import.meta.dirname, "../..");
  const page = readFileSync(join(root, "docs/service.md"), "utf8");
  const rows = [
    ...page.matchAll(/^\| `(mxfp4_edge_\w+)` +\| ([^|]*) \|/gm),
  ].map(
    ([, name, by]) =>
      [name!, by!.split(", ").map((each) => each.trim())] as const,
  );
  const begin = await fetch(`${edge.url}/v1/runs`);
  expect(begin.status).toBe(200);
  const { text } = await get("/metrics");
  const told = [...text.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name!);
  expect(rows.map(([name]) => name).toSorted()).toEqual(told.toSorted());
  for (const [name, by] of rows) {
    const [, labels] =
      new RegExp(`^${name}(?:_sum)?\\{([^}]*)\\}`, "m").exec(text) ?? [];
    const names = [...(labels ?? "").matchAll(/(\w+)="/g)].map(
      ([, label]) => label!,
    );
    // Of runs and jobs there are none here, and so no labels to be seen.
    if (labels) expect(names, name).toEqual(by);
  }
});
