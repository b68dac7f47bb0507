/** `npm run clean` in a copy of the scripts: what it asks, what goes, what stays. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const ROOT = resolve(import.meta.dirname, "../..");
const STATE = [
  "build/kernels.wasm",
  ".mxfp4-edge/objects/a.sqlite",
  ".mxfp4-edge/buckets/b",
  ".mxfp4-edge/edge.log",
  ".mxfp4-edge/edge.lock",
  ".mxfp4-edge/train/objects/c.sqlite",
  ".mxfp4-edge/train/edge.lock",
];
const KEPT = [
  ".mxfp4-edge/runs/tiny/checkpoint.safetensors",
  ".mxfp4-edge/runs/tiny/metrics.jsonl",
  ".mxfp4-edge/checkpoint.safetensors",
];
const FOREIGN = [".mxfp4-edge/notes.txt"];

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-clean-test-"));
  for (const name of ["src", "package.json"])
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  for (const path of [...STATE, ...KEPT, ...FOREIGN]) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), "");
  }
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const script = () => join(folder, "src/scripts/clean.ts");
const there = (paths: string[]) =>
  paths.filter((path) => existsSync(join(folder, path)));
/** Whoever removes a lock's file lets two processes lock two files of one name. */
const LOCKS = STATE.filter((path) => path.endsWith("edge.lock"));

function clean(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [script(), ...args],
    { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] },
  );
  return { status, stdout, stderr };
}

test("without a terminal it tells what would go, and removes nothing", () => {
  const { status, stdout, stderr } = clean();
  expect(status).toBe(2);
  expect(stdout).toContain("  .mxfp4-edge/objects (0.0 MB)\n");
  expect(stdout).toContain("  .mxfp4-edge/train/objects (0.0 MB)\n");
  expect(stdout).toMatch(/keeps, without --checkpoints:\n[^]*runs\/tiny/);
  expect(stderr).toBe(
    "Expected --yes where there is no terminal to ask in; nothing was removed\nSee `npm run clean -- --help`\n",
  );
  expect(there([...STATE, ...KEPT, ...FOREIGN])).toEqual([
    ...STATE,
    ...KEPT,
    ...FOREIGN,
  ]);
});

test("--yes removes state and builds; checkpoints go only where they are named", () => {
  expect(clean("--checkpoints").status).toBe(2);
  expect(there(KEPT)).toEqual(KEPT);
  expect(clean("--yes")).toMatchObject({ status: 0, stderr: "" });
  expect(there(STATE)).toEqual(LOCKS);
  expect(there([...KEPT, ...FOREIGN])).toEqual([...KEPT, ...FOREIGN]);
  expect(clean("--yes", "--checkpoints")).toMatchObject({ status: 0 });
  expect(there([...STATE, ...KEPT, ...FOREIGN])).toEqual([
    ...LOCKS,
    ...FOREIGN,
  ]);
});

test.runIf(process.platform === "linux").each([
  ["n", true],
  ["", true],
  ["y", false],
])(
  "in a terminal it asks; %j means that it stays: %s",
  async (answer, stays) => {
    const command = `${process.execPath} ${script()}`;
    const terminal: ChildProcess = spawn(
      "/usr/bin/script",
      ["-qec", command, "/dev/null"],
      { cwd: folder, stdio: ["pipe", "pipe", "inherit"] },
    );
    let shown = "";
    let isAnswered = false;
    terminal.stdout!.on("data", (chunk: Buffer) => {
      shown += chunk.toString();
      if (isAnswered || !shown.includes("[y/N]")) return;
      isAnswered = true;
      terminal.stdin!.write(`${answer}\r`);
    });
    const [code] = (await once(terminal, "close")) as [number];
    expect(code).toBe(stays ? 1 : 0);
    expect(shown).toContain("Remove them? [y/N]");
    expect(there(STATE).length).toBe(stays ? STATE.length : LOCKS.length);
    expect(there(KEPT)).toEqual(KEPT);
  },
);

test("what a process serves from stays", async () => {
  const lock = join(folder, "src/local/lock.ts");
  const holder = spawn(process.execPath, [
    "--input-type=module",
    "--eval",
    `import { lockFolder } from ${JSON.stringify(lock)};
     await lockFolder(${JSON.stringify(join(folder, ".mxfp4-edge/train"))});
     console.log("locked");
     setInterval(() => {}, 1000);`,
  ]);
  await once(holder.stdout, "data");
  const { status, stderr } = clean("--yes");
  expect(stderr).toContain(`process ${holder.pid} serves from it`);
  expect(status).toBe(1);
  expect(there(STATE)).toEqual(STATE);
  holder.kill("SIGKILL");
  await once(holder, "exit");
});
