/**
 * Commands as a supervisor runs them: npm in a process of its own, a signal to npm alone. Within 5 s
 * nothing of it runs, and a restart at once serves.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const ROOT = resolve(import.meta.dirname, "../..");
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"] as const;
const GONE_MS = 5_000;
const TRAIN_FOR_HOURS =
  "run train -- --steps 100000 --preset nano --batch 4 --microbatches 2".split(
    " ",
  );

let folder: string;
let started: ChildProcess[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-signals-test-"));
  started = [];
});

afterEach(async () => {
  for (const pid of marked()) process.kill(pid, "SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** `npm …`, in a session of its own as a supervisor gives it. Its output says what it did so far. */
function npm(...args: string[]): { npm: ChildProcess; said: Said } {
  const log = join(folder, `${started.length}.log`);
  const output = openSync(log, "w");
  const child = spawn("npm", args, {
    cwd: ROOT,
    detached: true,
    stdio: ["ignore", output, output],
    // What marks all that descends from it, wherever its parents have gone.
    env: {
      ...process.env,
      NO_COLOR: "1",
      SIGNALS_TEST: `${folder}/${started.length}`,
    },
  });
  started.push(child);
  return { npm: child, said: (part) => said(log, part) };
}

type Said = (part: RegExp) => Promise<string>;

async function said(log: string, part: RegExp): Promise<string> {
  await expect
    .poll(() => readFileSync(log, "utf8"), { timeout: 120_000, interval: 50 })
    .toMatch(part);
  return part.exec(readFileSync(log, "utf8"))![1]!;
}

/** Processes with the mark of all, or of what was started as the so many-th, by pid. */
function marked(index?: number): number[] {
  const mark = `SIGNALS_TEST=${folder}/${index ?? ""}`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return (
          pid !== process.pid &&
          readFileSync(`/proc/${pid}/environ`, "utf8").includes(
            index === undefined ? mark : `${mark}\0`,
          )
        );
      } catch {
        return false; // gone, or not ours
      }
    });
}

async function gone(index?: number): Promise<number[]> {
  const deadline = Date.now() + GONE_MS;
  while (marked(index).length > 0 && Date.now() < deadline) {
    await new Promise((wake) => setTimeout(wake, 50));
  }
  return marked(index);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

const onLinux = test.runIf(process.platform === "linux");

onLinux(
  "npm start ends by any signal to npm alone, and its restart at once serves on the same port",
  async () => {
    const port = `${await freePort()}`;
    const state = join(folder, "state");
    const args = ["start", "--", "--port", port, "--state", state];
    const served = async () => {
      const { npm: command, said: output } = npm(...args);
      const url = await output(/serves on (\S+?),/);
      expect(url).toBe(`http://127.0.0.1:${port}`);
      expect((await fetch(`${url}/healthz`)).status).toBe(200);
      return command;
    };
    let command = await served();
    expect(marked().length).toBeGreaterThan(2);
    for (const signal of SIGNALS) {
      command.kill(signal);
      await once(command, "exit");
      const ended = started.length - 1;
      command = await served();
      expect(await gone(ended), signal).toEqual([]);
    }
    command.kill("SIGKILL");
    expect(await gone()).toEqual([]);
  },
);

onLinux(
  "npm run train ends by any signal to npm alone, keeps its parameters, and its restart at once trains",
  async () => {
    const text = join(folder, "text.txt");
    writeFileSync(text, "The same line again and again.\n".repeat(400));
    const training = async (out: string) => {
      const { npm: command, said: output } = npm(
        ...TRAIN_FOR_HOURS,
        "--text",
        text,
        "--state",
        join(folder, "state"),
        "--out",
        join(folder, out),
      );
      await output(/(step 0) /);
      return command;
    };
    let command = await training("0");
    for (const [index, signal] of SIGNALS.entries()) {
      command.kill(signal);
      await once(command, "exit");
      command = await training(`${index + 1}`);
      expect(existsSync(join(folder, `${index}`)), signal).toBe(true);
      expect(await gone(index), signal).toEqual([]);
    }
    command.kill("SIGHUP");
    expect(await gone()).toEqual([]);
    expect(existsSync(join(folder, `${SIGNALS.length}`))).toBe(true);
  },
);

onLinux.each(SIGNALS)(
  "%s to npm alone ends npm run mxfp4-edge",
  async (signal) => {
    // An edge that never answers: the command is in the middle of its work for as long as it takes.
    const silent = createServer(() => undefined).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as { port: number };
    const file = join(folder, "x.safetensors");
    const header = '{"x":{"dtype":"F32","shape":[32],"data_offsets":[0,128]}}';
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(
      file,
      Buffer.concat([length, Buffer.from(header), Buffer.alloc(128)]),
    );
    const arrived = once(silent, "connection");
    const { npm: command } = npm(
      "run",
      "mxfp4-edge",
      "--",
      "quantize",
      file,
      "--url",
      `http://127.0.0.1:${port}`,
      "-o",
      join(folder, "y.safetensors"),
    );
    await arrived;
    command.kill(signal);
    expect(await gone()).toEqual([]);
    silent.close();
  },
);

onLinux(
  "Ctrl-C in a terminal, which npm passes on a second time, is one Ctrl-C",
  async () => {
    const text = join(folder, "text.txt");
    writeFileSync(text, "The same line again and again.\n".repeat(400));
    const { npm: command, said: output } = npm(
      ...TRAIN_FOR_HOURS,
      "--text",
      text,
      "--out",
      join(folder, "out"),
      "--state",
      join(folder, "state"),
    );
    await output(/(step 0) /);
    process.kill(-command.pid!, "SIGINT");
    await output(/(cancelled) at step \d+; its parameters are in/);
    expect(await gone()).toEqual([]);
  },
);
