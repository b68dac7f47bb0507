/** `npm run train` in a process of its own: what it is told, what it prints, what of it still runs, what it leaves. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect } from "vitest";
import type { StepMetrics } from "../../src/api/run-metrics.ts";
import { isAlive } from "../../src/local/alive.ts";

export const SCRIPTS = resolve(import.meta.dirname, "../../src/scripts");
const MAIN = resolve(import.meta.dirname, "../../src/cli/main.ts");
/** A shell that does as `byNewerNode` does. */
const CALL = 'MXFP4_EDGE_CALLER=$$ "$@" & wait';
export const BATCH = ["--batch", "4", "--microbatches", "2"];
export const SMALL = ["--preset", "nano", ...BATCH];
/** A sample of a large model takes longer than its steps here. */
export const UNSAMPLED = ["--sample-every", "0"];
/** For what takes seconds on an idle machine. */
export const PATIENCE_MS = 120_000;

export type Ended = {
  code: number | null;
  stdout: string;
  stderr: string;
};

export type Training = {
  child: ChildProcess;
  ended: Promise<Ended>;
  said(part: string): Promise<void>;
};

/** A folder with a text to learn, where the command keeps its state. Whoever makes it ends it. */
export class TrainingPlace {
  readonly folder = mkdtempSync(join(tmpdir(), "mxfp4-train-test-"));
  readonly text = textIn(this.folder);
  readonly out = join(this.folder, "model.safetensors");
  readonly #children: ChildProcess[] = [];

  train(...args: string[]): Training {
    const training = begun(this.folder, args);
    this.#children.push(training.child);
    return training;
  }

  /** The same by a shell, as an older Node runs it: `child` is the shell. */
  trainByCaller(...args: string[]): Training {
    const training = begun(this.folder, args, "sh");
    this.#children.push(training.child);
    return training;
  }

  /** A run that only an early end ends. */
  trainForHours(...more: string[]): Training {
    const hours = ["--steps", "100000", ...SMALL, ...more];
    return this.train("--text", this.text, "--out", this.out, ...hours);
  }

  /** Runtimes that the command started and that still run. */
  runtimes(): number[] {
    const notes = join(this.folder, "state/train/pids");
    const pids = existsSync(notes) ? readdirSync(notes).map(Number) : [];
    return pids.filter(isAlive);
  }

  end(): void {
    for (const child of this.#children) child.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20 });
  }
}

function textIn(parent: string): string {
  const file = join(parent, "my text.txt");
  const line = "The same line again and again, with little to learn.\n";
  writeFileSync(file, line.repeat(200));
  return file;
}

function begun(
  parent: string,
  args: readonly string[],
  by: "node" | "sh" = "node",
): Training {
  const script = join(SCRIPTS, "train.ts");
  const typed = ["--state", join(parent, "state"), ...args];
  const node = process.execPath;
  const [command, words] =
    by === "node"
      ? [node, [script, ...typed]]
      : ["sh", ["-c", CALL, "sh", node, MAIN, "train", ...typed]];
  const child = spawn(command, words, {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true, // a process group of its own, as a terminal gives it
    env: { ...process.env, NO_COLOR: "1" },
  });
  let stdout = "";
  let stderr = "";
  child.stdout!.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr!.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, "close").then(([code]) => ({
    code: code as number | null,
    stdout,
    stderr,
  }));
  const said = async (part: string) => {
    const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
    await expect
      .poll(() => stdout.includes(part) || hasEnded(), { timeout: PATIENCE_MS })
      .toBe(true);
    expect(stdout + stderr).toContain(part);
  };
  return { child, ended, said };
}

export function metricsIn(file: string): StepMetrics[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as StepMetrics);
}
