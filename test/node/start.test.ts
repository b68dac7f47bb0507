/** `npm start` as a person runs it: who may call, what each option does, what is refused. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const START = resolve(import.meta.dirname, "../../src/scripts/start.ts");
const TOKEN = "a-token-of-the-test";
/** For what takes seconds on an idle machine. */
const PATIENCE_MS = 120_000;

let folder: string;
let state: string;
let children: ChildProcess[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-start-test-"));
  state = join(folder, "state");
  children = [];
});

afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGTERM");
    await once(child, "exit");
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 20 });
});

/** The command, where the environment has this token or none. */
function start(args: string[], token?: string) {
  const { API_TOKEN: _, ...env } = process.env;
  const child = spawn(process.execPath, [START, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...env, ...(token !== undefined && { API_TOKEN: token }) },
  });
  children.push(child);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const url = async (): Promise<string> => {
    const line = /^mxfp4-edge serves on (http:\S+),/m;
    await expect
      .poll(() => line.test(stdout) || child.exitCode !== null, {
        timeout: PATIENCE_MS,
      })
      .toBe(true);
    expect(stdout + stderr).toMatch(line);
    return line.exec(stdout)![1]!;
  };
  const ended = once(child, "close").then(([code]) => ({
    code: code as number | null,
    stdout,
    stderr,
  }));
  return { url, ended, errors: () => stderr, output: () => stdout };
}

async function status(url: string, token?: string): Promise<number> {
  const headers = token && { Authorization: `Bearer ${token}` };
  return (await fetch(`${url}/v1/runs`, { headers: headers || {} })).status;
}

test.each(["0.0.0.0", "127.0.0.2", "::"])(
  "--host %s without a token is refused, and nothing is made",
  async (host) => {
    const args = ["--host", host, "--port", "0", "--state", state];
    expect(await start(args).ended).toEqual({
      code: 2,
      stdout: "",
      stderr: `Expected a token for serving other machines, on ${host}, got none\nSee \`npm start -- --help\`\n`,
    });
    expect(existsSync(state)).toBe(false);
  },
);

test("every option of --help is taken: served there, from there, to who has the token", async () => {
  const options = { host: "127.0.0.2", port: "0", state, token: TOKEN };
  const args = Object.entries(options).flatMap(([k, v]) => [`--${k}`, v]);
  const edge = start(args);
  const url = await edge.url();
  expect(url).toMatch(/^http:\/\/127\.0\.0\.2:\d+$/);
  expect(await status(url)).toBe(401);
  expect(await status(url, "another")).toBe(401);
  expect(await status(url, TOKEN)).toBe(200);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  const elsewhere = `http://127.0.0.1:${new URL(url).port}`;
  await expect(fetch(elsewhere)).rejects.toThrow();
  expect(existsSync(join(state, "objects"))).toBe(true);
  // What it says to try has what it asks for, and never the token itself.
  expect(edge.output()).toContain('-H "Authorization: Bearer TOKEN"');
  expect(edge.output()).not.toContain(TOKEN);
  // Lines of requests, and no warning of Node's.
  expect(edge.errors()).not.toContain("Warning");

  const help = spawnSync(process.execPath, [START, "--help"]).stdout.toString();
  const named = [...help.matchAll(/^ {2,6}(?:-\w, )?--([\w-]+)/gm)].map(
    (m) => m[1],
  );
  expect(named.toSorted()).toEqual(
    [...Object.keys(options), "json", "help", "version"].toSorted(),
  );
});

test("--json tells where it serves as JSON, and nothing else", async () => {
  const edge = start(["--port", "0", "--state", state, "--json"]);
  await expect.poll(edge.output, { timeout: PATIENCE_MS }).toMatch(/\n$/);
  const { url } = JSON.parse(edge.output()) as { url: string };
  expect(await status(url)).toBe(200);
});

test("the token may come from the environment, which no process list shows", async () => {
  const edge = start(["--port", "0", "--state", state], TOKEN);
  const url = await edge.url();
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(await status(url)).toBe(401);
  expect(await status(url, TOKEN)).toBe(200);
  // Nor does the runtime speak what opens its Worker to whoever asks.
  const path = "miniflare-unsafe-internal-capnp-connect";
  const connect = request(url, { method: "CONNECT", path, agent: false }).end();
  const answered = await new Promise<number | undefined>((tell) => {
    connect.once("connect", (answer, socket) => {
      socket.destroy();
      tell(answer.statusCode);
    });
    connect.once("response", (answer) => tell(answer.statusCode));
    connect.once("error", () => tell(undefined));
  });
  expect(answered).not.toBe(200);
});

test.each([
  [["--port", "x"], 'Expected --port to be a number from 0 to 65535, got "x"'],
  [
    ["--port", "65536"],
    'Expected --port to be a number from 0 to 65535, got "65536"',
  ],
  [
    ["--prot", "1"],
    "Expected one of --host --port --state --token --json --help --version, got --prot; the closest is --port",
  ],
  [
    ["8787"],
    "Expected one of --host --port --state --token --json --help --version, got 8787",
  ],
  [
    ["--token", "a b"],
    "Expected --token to be printable ASCII characters without spaces, got others",
  ],
])("%j is refused, as a wrong call", async (args, message) => {
  expect(await start(args).ended).toEqual({
    code: 2,
    stdout: "",
    stderr: `${message}\nSee \`npm start -- --help\`\n`,
  });
});
