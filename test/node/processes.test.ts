/** Who is still there after a kill: processes that have ended and that nobody has asked about are not. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeWhole } from "../../src/cli/files.ts";
import { isAlive } from "../../src/local/alive.ts";
import { endStale } from "../../src/local/processes.ts";

let folder: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-processes-test-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

function shell(script: string): ChildProcess {
  const child = spawn("sh", ["-c", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  return child;
}

const statOf = (pid: number): string =>
  readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!;

/** One that has ended, and whose parent goes on without asking. */
async function zombie(): Promise<number> {
  // What the shell becomes does not know of the child, which ends when it has become that.
  const child = `until read -r name </proc/$$/comm && [ "$name" = sleep ]; do :; done`;
  const parent = shell(`(${child}) & echo $!; exec sleep 60`);
  const [line] = (await once(parent.stdout!, "data")) as [Buffer];
  const pid = Number(line.toString());
  while (!statOf(pid).startsWith("Z")) await sleep(10);
  return pid;
}

/** As the guard of runtimes tells when a process started. */
const startOf = (pid: number): string =>
  `${statOf(pid).split(" ")[19]}-${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}`;

const onLinux = test.skipIf(process.platform !== "linux");

onLinux(
  "a process that has ended is not alive, asked about or not",
  async () => {
    expect(isAlive(process.pid)).toBe(true);
    expect(isAlive(await zombie())).toBe(false);
    const child = shell("exit 0");
    await once(child, "exit");
    expect(isAlive(child.pid!)).toBe(false);
  },
);

onLinux(
  "a runtime whose command was killed is ended by the next start, before the command is asked about",
  async () => {
    const parent = await zombie();
    const runtime = shell("exec sleep 60");
    const pids = join(folder, "pids");
    mkdirSync(pids);
    const note = join(pids, String(runtime.pid));
    writeFileSync(
      note,
      `${parent} ${startOf(parent)} ${startOf(runtime.pid!)}`,
    );
    // Of a command that runs, one stays.
    const kept = shell("exec sleep 60");
    const own = `${process.pid} ${startOf(process.pid)}`;
    writeFileSync(join(pids, String(kept.pid)), `${own} ${startOf(kept.pid!)}`);
    await endStale(folder);
    expect(isAlive(runtime.pid!)).toBe(false);
    expect(isAlive(kept.pid!)).toBe(true);
    expect(existsSync(note)).toBe(false);
  },
);

onLinux("what it has left of an output goes", async () => {
  writeFileSync(join(folder, `.out.${await zombie()}.part`), "");
  await writeWhole(
    join(folder, "out"),
    (async function* () {
      yield await Promise.resolve(new Uint8Array(9));
    })(),
  );
  expect(readdirSync(folder)).toEqual(["out"]);
});
