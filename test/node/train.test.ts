/** `npm run train` as a person runs it: a process, what it prints, how it ends. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
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
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RunEvent, StepMetrics } from "../../src/api/types.ts";
import { Progress } from "../../src/scripts/progress.ts";
import {
  readSafetensors,
  writeSafetensors,
} from "../../src/formats/containers/safetensors.ts";

const TRAIN = resolve(import.meta.dirname, "../../src/scripts/train.ts");
const SMALL = ["--preset", "nano", "--batch", "4", "--microbatches", "2"];

type Ended = { code: number | null; stdout: string; stderr: string };

let folder: string;
let text: string;
let out: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-train-test-"));
  text = join(folder, "my text.txt");
  out = join(folder, "model.safetensors");
  writeFileSync(
    text,
    "The same line again and again, with little to learn.\n".repeat(200),
  );
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** The command in a process of its own, with its state in the test's folder. */
function train(...args: string[]): {
  child: ChildProcess;
  ended: Promise<Ended>;
  said(part: string): Promise<void>;
} {
  const child = spawn(
    process.execPath,
    [TRAIN, "--state", join(folder, "state"), ...args],
    {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true, // a process group of its own, as a terminal gives it
      env: { ...process.env, NO_COLOR: "1" },
    },
  );
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
    while (!stdout.includes(part)) await once(child.stdout!, "data");
  };
  return { child, ended, said };
}

/** A run that only an early end ends. */
function trainForHours(): ReturnType<typeof train> {
  return train("--steps", "100000", "--text", text, "--out", out, ...SMALL);
}

/** Runtimes that the command started and that still run. */
function runtimes(): number[] {
  const notes = join(folder, "state/pids");
  const pids = existsSync(notes) ? readdirSync(notes).map(Number) : [];
  return pids.filter((pid) => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  });
}

describe("a run to its end", () => {
  test("says done on its last line, and leaves a checkpoint and no process", async () => {
    const args = ["--steps", "6", "--text", text, "--out", out, ...SMALL];
    const { code, stdout, stderr } = await train(...args).ended;
    expect(stderr).toBe("");
    expect(code).toBe(0);

    const last = stdout.trimEnd().split("\n").at(-1)!;
    const done =
      /^done val_loss=(\S+) steps=6 tokens=1536 seconds=(\S+) checkpoint=(\S+)$/.exec(
        last,
      );
    expect(last).toMatch(done ? "done" : "a `done …` line");
    // 5.55 is a uniform guess over 256 bytes; six steps are enough to be better.
    expect(Number(done![1])).toBeLessThan(5.4);
    expect(stdout).toContain(
      "recipe mxfp4-rht-sr, gradients in mxfp4; 2 trainers, 2 shards",
    );

    const { tensors } = readSafetensors(new Uint8Array(readFileSync(out)));
    const names = tensors.map(({ name }) => name);
    expect(names).toContain("transformer.h.1.mlp.c_proj.weight");
    expect(runtimes()).toEqual([]);
  });

  test("the same options give the same checkpoint for other trainers and shards", async () => {
    const files = [
      ["--trainers", "1", "--shards", "1"],
      ["--trainers", "3", "--shards", "4"],
    ].map(async (layout, index) => {
      const file = join(folder, `${index}.safetensors`);
      const state = ["--state", join(folder, `state-${index}`)];
      const args = [
        "--steps",
        "4",
        "--text",
        text,
        "--out",
        file,
        ...SMALL,
        ...layout,
        ...state,
      ];
      expect((await train(...args).ended).code).toBe(0);
      return readFileSync(file);
    });
    const [one, three] = await Promise.all(files);
    expect(one!.equals(three!)).toBe(true);
  });
});

describe("presets", () => {
  test.each([
    ["tiny", [], "842496 parameters", "2 shards"],
    ["small", [], "3290624 parameters", "2 shards"],
    ["medium", [], "10844160 parameters", "5 shards"],
    // Eight sequences a part do not fit a trainer: the parts are more.
    ["small", ["--batch", "32"], "8 × 1024 tokens", "2 shards"],
  ] as const)("%s trains as it is, %j", async (preset, more, ...said) => {
    const args = ["--steps", "2", "--text", text, "--out", out];
    const { code, stdout, stderr } = await train(
      "--preset",
      preset,
      ...args,
      ...more,
    ).ended;
    expect(stderr).toBe("");
    expect(code).toBe(0);
    for (const part of said) expect(stdout).toContain(part);
    expect(stdout).toMatch(/^done val_loss=[2-5]\.\d+ steps=2 /m);
  });

  test("what does not fit is refused with a command that does", async () => {
    const asked = ["--preset", "medium", "--recipe", "f32", "--steps", "1"];
    const { code, stderr } = await train(...asked, "--text", text).ended;
    expect(code).toBe(1);
    const [, line] = /this fits: npm run train -- (.*)/.exec(stderr)!;
    expect(line).toContain("--preset medium");
    const words = line!
      .match(/"[^"]*"|\S+/g)!
      .map((word) =>
        word.startsWith('"') ? (JSON.parse(word) as string) : word,
      );
    const ended = await train(...words, "--out", out).ended;
    expect(ended.stderr).toBe("");
    expect(ended.code).toBe(0);
  });
});

describe("what a run leaves", () => {
  const state = () => join(folder, "state");
  const kept = (name: string, file: string) =>
    join(state(), "runs", name, file);
  const options = ["--steps", "3", ...SMALL];

  test("is kept by name, and a second run of the same options overwrites nothing", async () => {
    const name = "nano-mxfp4-rht-sr-seed0";
    const first = await train("--text", text, ...options).ended;
    expect(first.code).toBe(0);
    const [checkpoint, metrics] = [
      kept(name, "checkpoint.safetensors"),
      kept(name, "metrics.jsonl"),
    ];
    expect(first.stdout).toContain(`/${name}/checkpoint.safetensors`);
    const before = [readFileSync(checkpoint), readFileSync(metrics)];

    expect((await train("--text", text, ...options).ended).code).toBe(0);
    expect([readFileSync(checkpoint), readFileSync(metrics)]).toEqual(before);
    const second = kept(`${name}-2`, "checkpoint.safetensors");
    expect(readFileSync(second)).toEqual(before[0]);
  });

  test("holds a line of metrics for each step, and one for the last evaluation", async () => {
    const args = ["--text", text, "--name", "mine", ...options];
    expect((await train(...args).ended).code).toBe(0);
    const lines = readFileSync(kept("mine", "metrics.jsonl"), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as StepMetrics);
    expect(lines.map(({ step }) => step)).toEqual([0, 1, 2, 3]);
    expect(lines.map(({ trainLoss }) => typeof trainLoss)).toEqual([
      "number",
      "number",
      "number",
      "object",
    ]);
    expect(lines.at(-1)!.valLoss).toBeLessThan(5.6);
  });

  test("is overwritten only by --force", async () => {
    writeFileSync(out, "a checkpoint of days");
    const args = ["--text", text, "--out", out, ...options];
    const refused = await train(...args).ended;
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(
      `Expected --out ${out} to be new, but ${out} is there; --force overwrites it`,
    );
    expect(readFileSync(out, "utf8")).toBe("a checkpoint of days");

    expect((await train(...args, "--force").ended).code).toBe(0);
    expect(readSafetensors(readFileSync(out)).tensors.length).toBeGreaterThan(
      10,
    );
    const named = ["--text", text, "--name", "mine", ...options];
    expect((await train(...named).ended).code).toBe(0);
    expect((await train(...named).ended).stderr).toContain("--force");
  });

  test("has metrics up to a cancellation", async () => {
    const run = trainForHours();
    await run.said("step 100 ");
    run.child.kill("SIGTERM");
    expect((await run.ended).code).toBe(130);
    const lines = readFileSync(join(folder, "model.metrics.jsonl"), "utf8")
      .trimEnd()
      .split("\n");
    expect(lines.length).toBeGreaterThan(99);
    const steps = lines.map((line) => (JSON.parse(line) as StepMetrics).step);
    expect(steps).toEqual(steps.map((_, index) => index));
  });

  test("is sampled while it trains, and by npm run sample afterwards, the same each time", async () => {
    const args = ["--text", text, "--out", out, ...options];
    const { stdout } = await train(...args, "--sample-every", "1").ended;
    expect(stdout).toMatch(/^step [12] {2}"The /m);
    const off = await train(...args, "--sample-every", "0", "--force").ended;
    expect(off.stdout).not.toMatch(/^step \d {2}"/m);

    const sample = (...more: string[]) => {
      const script = join(import.meta.dirname, "../../src/scripts/sample.ts");
      const {
        status,
        stdout: written,
        stderr,
      } = spawnSync(process.execPath, [script, ...more]);
      return {
        status,
        text: written.toString("latin1"),
        error: stderr.toString(),
      };
    };
    const asked = ["--prompt", "Once", "--tokens", "20", "--seed", "7"];
    const once = sample(...asked, "--temperature", "0.5", "--top-k", "9", out);
    expect(once).toMatchObject({ status: 0, error: "" });
    expect(once.text).toMatch(/^Once[^]{20}\n$/);
    expect(
      sample(...asked, "--temperature", "0.5", "--top-k", "9", out),
    ).toEqual(once);
    expect(sample(...asked, "--seed", "8", out).text).not.toBe(once.text);
    expect(sample("--temperature", "-1", out)).toMatchObject({
      status: 1,
      error: 'Expected --temperature to be a number from 0, got "-1"\n',
    });

    // What is no checkpoint of ours, by what it is.
    const fileOf = (name: string, content: Uint8Array | string) => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };
    const plain = writeSafetensors(
      [{ name: "x", shape: [1], dtype: "F32", chunks: [new Uint8Array(4)] }],
      new Map(),
    );
    for (const [file, message] of [
      [fileOf("a", "GGUF\x03\0\0\0"), "got a GGUF file"],
      [fileOf("b", ""), "got an empty file"],
      [fileOf("c", "just some text, long"), "got a file of another kind"],
      [
        fileOf("d", Buffer.concat([...plain.chunks])),
        "got a safetensors file without `mxfp4-edge.config`",
      ],
      [join(folder, "none"), `got ${join(folder, "none")}`],
    ] as const) {
      const { status, error } = sample(file);
      expect(error).toContain(message);
      expect(error.split("\n").length).toBe(2);
      expect(status).toBe(1);
    }
  });
});

test("runtimes that are killed again and again, while they start too, come back and change nothing", async () => {
  const args = ["--steps", "12", "--text", text, ...SMALL];
  expect((await train(...args, "--out", out).ended).code).toBe(0);
  const stormy = join(folder, "stormy.safetensors");
  const run = train(...args, "--out", stormy);
  await run.said("step 0 ");
  const seen = new Set<number>();
  // Each of three runtimes several times: those that are up, and those that only begin to be.
  while (seen.size < 15) {
    for (const pid of runtimes()) {
      if (seen.has(pid)) continue;
      seen.add(pid);
      process.kill(pid, "SIGKILL");
    }
    await new Promise((wake) => setTimeout(wake, 5));
  }
  const { code, stderr } = await run.ended;
  expect(code).toBe(0);
  expect(stderr).toMatch(/^edge: its runtime ended; started again$/m);
  expect(stderr).toMatch(/^trainers-\d: its runtime ended; started again$/m);
  expect(readFileSync(stormy).equals(readFileSync(out))).toBe(true);
});

describe("an early end", () => {
  test.each(["SIGINT", "SIGTERM"] as const)(
    "%s cancels the run, keeps its parameters and leaves no process",
    async (signal) => {
      const run = trainForHours();
      await run.said("step 0");
      run.child.kill(signal);
      const { code, stdout } = await run.ended;
      expect(code).toBe(130);
      expect(stdout).toMatch(/cancelled at step \d+; its parameters are in /);
      expect(existsSync(out)).toBe(true);
      expect(runtimes()).toEqual([]);
    },
  );

  test("Ctrl-C in a terminal, which reaches the runtimes too, does the same", async () => {
    const run = trainForHours();
    await run.said("step 0");
    process.kill(-run.child.pid!, "SIGINT");
    const { code, stdout } = await run.ended;
    expect(stdout).toMatch(/cancelled at step \d+; its parameters are in /);
    expect(code).toBe(130);
    expect(runtimes()).toEqual([]);
  });

  test("SIGKILL leaves no process either", async () => {
    const run = trainForHours();
    await run.said("step 0");
    expect(runtimes().length).toBe(3);
    run.child.kill("SIGKILL");
    await expect.poll(runtimes, { timeout: 20_000 }).toEqual([]);
  });
});

describe("refusals say what was expected and what came", () => {
  test.each([
    [["--recipe", "fp8"], /recipe/],
    [["--stepps", "5"], /Expected one of .*--steps.*, got --stepps/],
    [["--steps", "0"], /Expected --steps to be a whole number from 1, got "0"/],
    [
      ["--steps", "1.5"],
      /Expected --steps to be a whole number from 1, got "1.5"/,
    ],
    [
      ["--learning-rate", "fast"],
      /Expected --learning-rate to be a number above 0, got "fast"/,
    ],
    [
      ["--batch", "5", "--microbatches", "2"],
      /Expected --batch to be a multiple of --microbatches 2, got 5/,
    ],
    [
      ["--text", "no-such-file"],
      /Expected --text to be a file, got no-such-file/,
    ],
    [
      ["--out", "no-such-folder/x"],
      /Expected --out to be in a folder that exists, got no-such-folder\/x/,
    ],
    [["--width", "65"], /65/],
  ])("%j", async (args, message) => {
    const { code, stderr } = await train("--text", text, "--out", out, ...args)
      .ended;
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
    expect(runtimes()).toEqual([]);
  });
});

describe("progress", () => {
  const metrics = (step: number): StepMetrics => ({
    step,
    trainLoss: 3.25,
    gradNorm: 1,
    learningRate: 1e-3,
    tokens: (step + 1) * 100,
    valLoss: null,
    committedMs: 1000 + step * 50,
  });
  const events = (steps: number): RunEvent[] =>
    Array.from({ length: steps }, (_, step) => ({
      id: step,
      timeMs: 0,
      type: "step",
      metrics: metrics(step),
    }));

  function written(isTTY: boolean, steps: number): string {
    let output = "";
    const progress = new Progress(
      { isTTY, columns: 100, write: (part) => Boolean((output += part)) },
      steps,
    );
    for (const event of events(steps)) progress.event(event);
    return output;
  }

  test("is a line now and then where there is no terminal", () => {
    const lines = written(false, 400).trimEnd().split("\n");
    expect(lines.length).toBe(40);
    // 100 tokens in 50 ms; 20 steps from the end, 2,000 tokens are left.
    expect(lines.at(-3)).toBe(
      "step 380/400  loss 3.2500  val loss -  2000 tokens/s  ETA 0:01",
    );
  });

  test("is one line that changes on a terminal", () => {
    const output = written(true, 400);
    expect(output.split("\n").length).toBe(1);
    expect(output.split("\r\u001b[2K").length).toBe(400);
  });
});
