/** The state folder's files, not what databases say of themselves: what is gone leaves nothing there. */
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Client } from "../../src/client/client.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";

const MB = 1_000_000;
const SENT_BYTES = 42 * MB;
const TEXT = "It was the best of times, it was the worst of times. ".repeat(
  200,
);

let folder: string;
let edge: Running;
let client: Client;

async function start(): Promise<void> {
  edge = await startEdge({ stateFolder: folder, quiet: true });
  client = new Client({ baseUrl: edge.url });
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-leftovers-"));
  await start();
  await client.putDataset("corpus", new Blob([TEXT]));
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Files below the state folder's `part` by path, with their sizes; a database's log counts with it. */
function filesOf(part: string): Map<string, number> {
  const files = new Map<string, number>();
  const root = join(folder, part);
  for (const entry of readdirSync(root, {
    recursive: true,
    withFileTypes: true,
  })) {
    if (!entry.isFile() || entry.name.endsWith("-shm")) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    const owner = path.replace(/-wal$/, "");
    files.set(owner, (files.get(owner) ?? 0) + bytes);
  }
  return files;
}

function bytesOf(part: string): number {
  return [...filesOf(part).values()].reduce((sum, bytes) => sum + bytes, 0);
}

/** Send 42 of 100 MB, and leave once `isThere` says so. */
async function breakOff(path: string, isThere: () => boolean): Promise<void> {
  const { hostname, port } = new URL(edge.url);
  const socket = connect(Number(port), hostname);
  // The runtime may have been killed.
  socket.on("error", () => {});
  socket.write(
    `PUT ${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nContent-Length: ${100 * MB}\r\n\r\n`,
  );
  const piece = Buffer.alloc(MB, 1);
  for (let sent = 0; sent < SENT_BYTES; sent += MB) {
    if (!socket.write(piece))
      await new Promise((wake) => socket.once("drain", wake));
  }
  await expect.poll(isThere).toBe(true);
  socket.destroy();
}

test.each(["/v1/files/broken", "/v1/datasets/broken"])(
  "an upload to %s that breaks off leaves nothing in the bucket",
  async (path) => {
    const before = bytesOf("buckets");
    const arrived = () => bytesOf("buckets") > before + SENT_BYTES / 2;
    await breakOff(path, arrived);
    const left = () => bytesOf("buckets") - before;
    await expect.poll(left).toBeLessThan(MB / 2);
    expect((await fetch(edge.url + path)).status).toBe(404);
  },
);

test("one that breaks off leaves the file that had its name", async () => {
  const url = `${edge.url}/v1/files/kept`;
  await fetch(url, { method: "PUT", body: "as it was" });
  const before = bytesOf("buckets");
  await breakOff("/v1/files/kept", () => bytesOf("buckets") > before + 9 * MB);
  const left = () => bytesOf("buckets") - before;
  await expect.poll(left).toBeLessThan(MB / 2);
  expect(await (await fetch(url)).text()).toBe("as it was");
});

test("what was half written when the runtime was killed goes with the next start", async () => {
  const before = bytesOf("buckets");
  const partial = () =>
    [...filesOf("buckets").keys()].some((path) => path.endsWith(".partial"));
  await breakOff("/v1/files/killed", () => {
    if (!partial() || bytesOf("buckets") < before + 9 * MB) return false;
    for (const pid of readdirSync(join(folder, "pids")))
      process.kill(Number(pid), "SIGKILL");
    return true;
  });
  await edge.close();
  await start();
  expect(partial()).toBe(false);
});

test("runs that are removed leave no file, and no more than a page until the next start", async () => {
  await edge.close();
  await start();
  await client
    .run("none")
    .status()
    .catch(() => {});
  const before = new Set(filesOf("objects").keys());
  const databases = () =>
    [...filesOf("objects")].filter(([path]) => !before.has(path));
  for (let i = 0; i < 3; i++) {
    const { run } = await client.createRun({
      dataset: "corpus",
      model: { layers: 2, width: 128, heads: 2, context: 64 },
      sequences: 1,
    });
    await client.run(run).setState("cancelled");
    expect(
      databases().reduce((sum, [, bytes]) => sum + bytes, 0),
    ).toBeGreaterThan(MB);
    await client.run(run).remove();
    // A run, and its two shards.
    await expect
      .poll(() => databases().map(([, bytes]) => bytes), { timeout: 30_000 })
      .toEqual(Array.from({ length: 3 * (i + 1) }, () => 4096));
  }
  await edge.close();
  await start();
  expect(databases()).toEqual([]);
});
