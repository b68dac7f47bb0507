/** Texts and lines that a Worker sends while they are written, to readers that stay, that leave, and that hear of a failure. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import { afterAll, beforeAll, expect, test } from "vitest";
import { guardRuntimes } from "../../src/local/processes.ts";

const SOURCES = resolve(import.meta.dirname, "../../src");

/** /metrics has 700 lines, and fails at its second page, read the second time, where `fails`; where `rewinds` they are fewer by then. /text?form=…&pieces=… writes, and fails after so many pieces where `fails`; /released says how many are given back. */
const WORKER = `
import { AppError } from "./api/errors.ts";
import { textStream } from "./http/generation/text-stream.ts";
import { declaredStream } from "./http/runs/declared-stream.ts";
import { writtenMetrics } from "./http/runs/written-metrics.ts";

let released = 0;

async function* text(pieces, fails) {
  for (let i = 0; i < pieces; i++) {
    await new Promise((wake) => setTimeout(wake, 0));
    yield "x".repeat(1000);
  }
  if (fails) throw new AppError("unavailable", "Expected more, got none");
  return { reason: "length", promptTokens: 1, tokens: pieces };
}

export default {
  async fetch(request, env, context) {
    const { pathname, searchParams: asked } = new URL(request.url);
    if (pathname === "/released") return new Response(String(released));
    if (pathname === "/metrics") {
      let reads = 0;
      const page = async (step, limit) => {
        const isAgain = ++reads > 2;
        if (isAgain && asked.has("fails")) throw new Error("gone");
        const steps = isAgain && asked.has("rewinds") ? 600 : 700;
        const length = Math.min(limit, steps - step);
        return Array.from({ length }, (_, i) => ({ step: step + i, phases: {} }));
      };
      const { bytes, chunks } = await writtenMetrics(asked.has("csv"), page);
      return new Response(declaredStream(context, bytes, chunks));
    }
    const writing = text(Number(asked.get("pieces")), asked.has("fails"));
    return new Response(
      await textStream(context, writing, asked.get("form"), () => released++),
    );
  },
};`;

let folder: string;
let miniflare: Miniflare;
let url: URL;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-text-stream-"));
  const { outputFiles } = await build({
    stdin: { contents: WORKER, resolveDir: SOURCES },
    bundle: true,
    format: "esm",
    write: false,
  });
  miniflare = new Miniflare({
    ...guardRuntimes(folder),
    modules: true,
    script: outputFiles[0]!.text,
    compatibilityDate: "2026-07-30",
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
    cf: false, // it would be fetched
    telemetry: { enabled: false },
  });
  await miniflare.ready;
  url = await miniflare.unsafeGetDirectURL();
});

afterAll(async () => {
  await miniflare?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const get = (path: string, init?: RequestInit) =>
  fetch(new URL(path, url), init);
const released = async () => Number(await (await get("/released")).text());

test.each([
  ["text", "xxx"],
  ["sse", 'data: {"text":"xxx"}\n\ndata: {"reason":"length"'],
])("%s to its end", async (form, wanted) => {
  const before = await released();
  const answer = await get(`/text?form=${form}&pieces=1`);
  const told = (await answer.text()).replace("x".repeat(1000), "xxx");
  expect(told.slice(0, wanted.length)).toBe(wanted);
  await expect.poll(released).toBe(before + 1);
});

test("what fails on the way is told as an event", async () => {
  const before = await released();
  const events = await get("/text?form=sse&pieces=1&fails");
  expect(await events.text()).toContain(
    'event: error\ndata: {"code":"unavailable","detail":"Expected more, got none"}',
  );
  await expect.poll(released).toBe(before + 1);
});

test("what fails on the way in plain text has no end of its own, as docs/service.md says", async () => {
  const whole = await (await get("/text?form=text&pieces=3")).text();
  const broken = await get("/text?form=text&pieces=3&fails");
  expect(broken.status).toBe(200);
  // A runtime that breaks it off by itself is welcome: then the page is to say so.
  expect(await broken.text()).toBe(whole);
});

test.each(["/metrics?", "/metrics?csv"])(
  "%s declares its length, and breaks off where a page fails or has become shorter",
  async (path) => {
    const answer = await get(path);
    const whole = await answer.text();
    expect(whole.trimEnd().split("\n").length).toBe(
      path.endsWith("csv") ? 701 : 700,
    );
    expect(answer.headers.get("Content-Length")).toBe(`${whole.length}`);
    for (const fault of ["fails", "rewinds"]) {
      const broken = await get(`${path}&${fault}`);
      expect(broken.status).toBe(200);
      await expect(broken.text()).rejects.toThrow("terminated");
    }
  },
);

test.each(["text", "sse"])(
  "a reader of %s that leaves gives back what it took",
  async (form) => {
    const before = await released();
    for (let i = 0; i < 5; i++) {
      const gone = new AbortController();
      const { signal } = gone;
      const answer = await get(`/text?form=${form}&pieces=1000000`, { signal });
      await answer.body!.getReader().read();
      gone.abort();
    }
    await expect.poll(released, { timeout: 20_000 }).toBe(before + 5);
  },
);
