/** Commands whose edge fails amid an answer: what is short is never taken for whole. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

const COMMAND = resolve(import.meta.dirname, "../../src/cli/main.ts");
const LINE = `${JSON.stringify({ step: 0, trainLoss: 5, phases: null })}\n`;
const EVENTS = 'data: {"text":"a whale"}\n\n';

let folder: string;
let server: Server;
let url: string;
/** Of each path that is asked for, how the answers go; a whole one behind them. */
let broken: Record<string, number>;

/** Three fifths of what is declared come; of events all but the last. */
function answer(path: string, response: ServerResponse): void {
  const isBroken = (broken[path] ?? 0) > 0;
  if (isBroken) broken[path]!--;
  if (path === "/healthz") response.end('{"status":"ok"}');
  else if (path.endsWith("/generate")) {
    const rest = 'data: {"reason":"stop","promptTokens":1,"tokens":1}\n\n';
    response.setHeader("Content-Type", "text/event-stream");
    response.end(isBroken ? EVENTS : EVENTS + rest);
  } else {
    const body = path.endsWith("/metrics") ? LINE : "x".repeat(100);
    response.setHeader("Content-Length", `${body.length}`);
    if (!isBroken) response.end(body);
    else
      response.write(body.slice(0, body.length * 0.6), () =>
        setTimeout(() => response.destroy(), 50),
      );
  }
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-broken-test-"));
  writeFileSync(join(folder, "in.safetensors"), "any");
  server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, "http://edge");
    request.resume().once("end", () => answer(pathname, response));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

beforeEach(() => {
  broken = {};
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

type Ended = { code: number; stdout: string; stderr: string };
const run = (...args: string[]): Promise<Ended> =>
  new Promise((done) => {
    const all = [COMMAND, ...args, "--url", url];
    const child = execFile(
      process.execPath,
      all,
      { cwd: folder },
      (_, stdout, stderr) => done({ code: child.exitCode!, stdout, stderr }),
    );
  });

test.each([
  [
    "a checkpoint",
    "/v1/runs/r/checkpoint",
    ["export", "r", "--format", "gguf"],
  ],
  ["a conversion", "/v1/quantize", ["quantize", "in.safetensors"]],
])(
  "%s that breaks off leaves no file, and says what came",
  async (_, path, args) => {
    broken = { [path]: 1 };
    const ended = await run(...args, "-o", "out");
    expect(ended.stderr).toContain(
      "Expected 100 bytes, got 60 and a connection that ended: terminated",
    );
    expect(ended.stderr).toContain("repeat the command");
    expect(ended.code).toBe(1);
    expect(readdirSync(folder)).toEqual(["in.safetensors"]);
    expect((await run(...args, "-o", "out")).code).toBe(0);
    rmSync(join(folder, "out"));
  },
);

test("a text without its last event is none", async () => {
  broken = { "/v1/runs/r/generate": 1 };
  const args = ["generate", "r", "--prompt", "See ", "--json"];
  const ended = await run(...args);
  expect(ended).toMatchObject({ code: 1, stdout: "" });
  expect(ended.stderr).toContain(
    "Expected a complete text, got a stream that broke off",
  );
  expect(await run(...args)).toMatchObject({ code: 0 });
});

test("metrics that break off are asked for again", async () => {
  broken = { "/v1/runs/r/metrics": 2 };
  const ended = await run("runs", "export", "r", "--format", "jsonl");
  expect(ended).toMatchObject({ code: 0, stdout: LINE });
  expect(broken).toEqual({ "/v1/runs/r/metrics": 0 });
});
