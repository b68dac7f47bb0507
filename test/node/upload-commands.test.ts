/**
 * `upload`, `download`, and conversions by an edge of what no request holds: killed on the way, the same
 * command sends and fetches what is missing, and nothing stays behind.
 */
import { spawn } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer, request as sendRequest, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { FLOATS } from "../support/large-files.ts";
import { writeModel } from "../support/model-directories.ts";

const MAIN = resolve(import.meta.dirname, "../../src/cli/main.ts");
const PART = 32 * 2 ** 20;

let folder: string;
let edge: Running;
let client: Mxfp4Edge;
/** Between command and edge: it counts what passes, and tells of each request and each piece. */
let gate: Server;
let url: string;
let passed: { method: string; path: string }[] = [];
let received = 0;
let onPassed: () => void = () => {};
/** What does not get through, and after how many bytes of answers nothing does: a command is killed at a place that is known. */
let keepsBack: (path: string) => boolean = () => false;
let mostReceived = Infinity;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-upload-commands-"));
  edge = await startEdge({ stateFolder: join(folder, "state"), quiet: true });
  client = new Mxfp4Edge({ baseUrl: edge.url });
  gate = createServer((request, response) => {
    const { host, port } = new URL(edge.url);
    const { method, url: path, headers } = request;
    if (keepsBack(path!)) return;
    const onward = sendRequest(
      { host: host.split(":")[0], port, method, path, headers },
      (answer) => {
        passed.push({ method: method!, path: path! });
        response.writeHead(answer.statusCode!, answer.headers);
        answer.on("data", (piece: Buffer) => {
          received += piece.length;
          onPassed();
          if (received >= mostReceived) answer.unpipe(response).pause();
        });
        answer.pipe(response);
        onPassed();
      },
    );
    onward.on("error", () => response.destroy());
    request.pipe(onward);
    response.on("close", () => onward.destroy());
  });
  await new Promise<void>((ready) => gate.listen(0, "127.0.0.1", ready));
  url = `http://127.0.0.1:${(gate.address() as AddressInfo).port}`;

  // Three parts, the last a small one.
  const { head, dataBytes } = writeHead(
    [
      {
        name: "model.layers.0.mlp.up_proj.weight",
        dtype: "F32",
        shape: [1024, 17 * 1024],
      },
    ],
    new Map(),
  );
  const data = Buffer.alloc(dataBytes);
  for (let at = 0; at < dataBytes; at += FLOATS.length) data.set(FLOATS, at);
  writeFileSync(join(folder, "large"), Buffer.concat([head, data]));
  writeModel(join(folder, "llama"), "llama", 2);
});
afterAll(async () => {
  gate?.closeAllConnections();
  gate?.close();
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  passed = [];
  received = 0;
  onPassed = () => {};
  keepsBack = () => false;
  mostReceived = Infinity;
});

/** The command, killed as soon as `isTime`. */
async function run(
  args: string[],
  isTime: () => boolean = () => false,
): Promise<{ status: number | null; signal: string | null; stderr: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, NO_COLOR: "1" },
  });
  let stderr = "";
  child.stderr.on("data", (text) => (stderr += String(text)));
  onPassed = () => {
    if (isTime()) child.kill("SIGKILL");
  };
  const looking = setInterval(() => onPassed(), 20);
  return new Promise((ended) => {
    child.on("close", (status, signal) => {
      clearInterval(looking);
      ended({ status, signal, stderr });
    });
  });
}

const at = (name: string) => join(folder, name);
const partsSent = () =>
  passed
    .filter(
      ({ method, path }) => method === "PUT" && path.includes("/uploads/"),
    )
    .map(({ path }) => Number(path.split("/").at(-1)));

/** Of downloads, here. */
const partsKept = () =>
  readdirSync(folder).filter((name) => name.endsWith(".part"));
const partBytes = () =>
  Math.max(0, ...partsKept().map((name) => statSync(at(name)).size));

async function expectStored(name: string, path: string): Promise<void> {
  const bytes = Buffer.from(await (await client.file(name)).arrayBuffer());
  expect(Buffer.compare(bytes, readFileSync(path)), name).toBe(0);
}

test("an upload that is killed sends what is missing, and a third sends nothing", async () => {
  const args = ["upload", at("large"), "--name", "sent", "--url", url];
  keepsBack = (path) => /\/uploads\/.*[13]$/.test(path);
  const killed = await run(args, () => partsSent().length >= 1);
  expect(killed.signal).toBe("SIGKILL");
  const bytes = readFileSync(at("large")).length;
  expect(bytes).toBeGreaterThan(2 * PART);
  const { parts } = await client.upload("sent", `${bytes}-${PART}`);
  expect(parts.map(({ part }) => part)).toEqual([2]);
  passed = [];
  keepsBack = () => false;
  expect(await run(args)).toMatchObject({ status: 0 });
  expect(partsSent().toSorted((a, b) => a - b)).toEqual([1, 3]);
  await expectStored("sent", at("large"));
  passed = [];
  const third = await run(args);
  expect(third.stderr).toContain("1 of them there");
  expect(passed.filter(({ method }) => method !== "GET")).toEqual([]);
});

test.each([
  [["upload", "nothing"], "Expected a readable file, got nothing"],
  [
    ["download", "nothing", "-o", "got"],
    'Expected a file or a folder of the edge, got "nothing"',
  ],
])("what is not there: %j", async (args, message) => {
  const { status, stderr } = await run([...args, "--url", url]);
  expect(stderr).toContain(message);
  expect(status).toBe(1);
});

test("a download that is killed fetches what is missing, of the same version", async () => {
  const args = ["download", "sent", "-o", at("fetched"), "--url", url];
  const bytes = readFileSync(at("large")).length;
  mostReceived = 30 * 2 ** 20;
  const killed = await run(args, () => partBytes() > 20 * 2 ** 20);
  expect(killed.signal).toBe("SIGKILL");
  expect(readdirSync(folder)).not.toContain("fetched");
  received = 0;
  mostReceived = Infinity;
  expect(await run(args)).toMatchObject({ status: 0 });
  expect(received).toBeLessThan(bytes - 20 * 2 ** 20);
  expect(
    Buffer.compare(readFileSync(at("fetched")), readFileSync(at("large"))),
  ).toBe(0);
  // Of another version nothing is kept.
  const again = ["download", "sent", "-o", at("other"), "--url", url];
  received = 0;
  mostReceived = 30 * 2 ** 20;
  expect((await run(again, () => partBytes() > 20 * 2 ** 20)).signal).toBe(
    "SIGKILL",
  );
  mostReceived = Infinity;
  await client.putFile("sent", new Uint8Array(100).fill(1));
  expect(await run(again)).toMatchObject({ status: 0 });
  expect(readFileSync(at("other")).equals(Buffer.alloc(100, 1))).toBe(true);
  expect(partsKept()).toEqual([]);
});

test("a download of a folder has what the folder has now, whatever a killed one has left", async () => {
  for (const name of ["now/config.json", "now/deep/a"])
    await client.putFile(name, new Uint8Array(9));
  const part = at(".now-here.part");
  mkdirSync(join(part, "gone"), { recursive: true });
  for (const name of ["before.bin", "gone/b", ".a.0123456789abcdef.part"])
    writeFileSync(join(part, name), "of before");
  const args = ["download", "now", "-o", at("now-here"), "--url", url];
  expect(await run(args)).toMatchObject({ status: 0 });
  expect(
    readdirSync(at("now-here"), { recursive: true }).map(String).toSorted(),
  ).toEqual(["config.json", "deep", "deep/a"]);
  expect(partsKept()).toEqual([]);
});

test("a directory goes there and comes back; one that is changed goes anew", async () => {
  expect(await run(["upload", at("llama"), "--url", url])).toMatchObject({
    status: 0,
  });
  const back = ["download", "llama", "-o", at("back"), "--url", url];
  expect(await run(back)).toMatchObject({ status: 0 });
  // A folder is what lies in it.
  const files = readdirSync(at("llama")).filter((name) => name !== "original");
  expect(readdirSync(at("back")).toSorted()).toEqual(files.toSorted());
  for (const file of files)
    expect(
      readFileSync(join(at("back"), file)).equals(
        readFileSync(join(at("llama"), file)),
      ),
    ).toBe(true);
  writeFileSync(join(at("llama"), "tokenizer.json"), '{"a":1}');
  passed = [];
  expect(await run(["upload", at("llama"), "--url", url])).toMatchObject({
    status: 0,
  });
  expect(
    passed.filter(({ method }) => method === "PUT").map(({ path }) => path),
  ).toEqual(["/v1/files/llama%2Ftokenizer.json"]);
  expect((await run([...back])).stderr).toContain("Expected a new output");
});

test("a large file is converted by a job, killed or not: the bytes of this machine, and no trace", async () => {
  const before = (await client.files()).files;
  expect(await run(["quantize", at("large"), "-o", at("here")])).toMatchObject({
    status: 0,
  });
  const args = ["quantize", at("large"), "-o", at("there"), "--url", url];
  const hasJob = () =>
    passed.some(({ method, path }) => method === "POST" && path === "/v1/jobs");
  expect((await run(args, hasJob)).signal).toBe("SIGKILL");
  passed = [];
  expect(await run(args)).toMatchObject({ status: 0 });
  expect(partsSent()).toEqual([]);
  expect(readFileSync(at("there")).equals(readFileSync(at("here")))).toBe(true);
  expect((await client.files()).files).toEqual(before);
  expect((await client.jobs()).jobs).toEqual([]);
});

test("a directory is converted by a job, there and back", async () => {
  const there = ["quantize", at("llama"), "--for", "vllm", "-o"];
  expect(await run([...there, at("dir-here")])).toMatchObject({ status: 0 });
  expect(await run([...there, at("dir-there"), "--url", url])).toMatchObject({
    status: 0,
  });
  const back = ["dequantize", at("dir-there"), "-o"];
  expect(await run([...back, at("back-here")])).toMatchObject({ status: 0 });
  expect(await run([...back, at("back-there"), "--url", url])).toMatchObject({
    status: 0,
  });
  for (const [here, far] of [
    ["dir-here", "dir-there"],
    ["back-here", "back-there"],
  ] as const) {
    expect(readdirSync(at(far)).toSorted()).toEqual(
      readdirSync(at(here)).toSorted(),
    );
    for (const file of readdirSync(at(here))) {
      // The card says what the directory is called.
      if (file === "README.md") continue;
      expect(
        readFileSync(join(at(far), file)).equals(
          readFileSync(join(at(here), file)),
        ),
        file,
      ).toBe(true);
    }
  }
  expect((await client.jobs()).jobs).toEqual([]);
  const none = await run([
    "quantize",
    at("llama"),
    "-o",
    at("none"),
    "--url",
    url,
  ]);
  expect(none).toMatchObject({ status: 2 });
});
