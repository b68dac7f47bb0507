/** The docs page: its own assets, and a policy under which a browser asks nobody else. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
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
