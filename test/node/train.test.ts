/** `npm run train` as a person runs it: a process, what it prints, how it ends, what it leaves. */
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
import { stripVTControlCharacters } from "node:util";
import { join, resolve } from "node:path";
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  test,
} from "vitest";
import type { RunEvent, StepMetrics } from "../../src/api/run-metrics.ts";
import { Client } from "../../src/client/client.ts";
import {
  readSafetensors,
  writeSafetensors,
} from "../../src/formats/containers/safetensors.ts";
import { startEdge } from "../../src/local/edge.ts";
import { Progress } from "../../src/cli/progress.ts";
import { timeSpent } from "../../src/cli/time-spent.ts";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import { linkFree } from "../../src/cli/train/save-checkpoint.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";

const SCRIPTS = resolve(import.meta.dirname, "../../src/scripts");
const BATCH = ["--batch", "4", "--microbatches", "2"];
const SMALL = ["--preset", "nano", ...BATCH];
/** A sample of a large model takes longer than its steps here. */
const UNSAMPLED = ["--sample-every", "0"];
/** For what takes seconds on an idle machine. */
const PATIENCE_MS = 120_000;

type Ended = { code: number | null; stdout: string; stderr: string };

let folder: string;
let text: string;
let out: string;
let children: ChildProcess[];

beforeEach(() => {
  children = [];
  folder = mkdtempSync(join(tmpdir(), "mxfp4-train-test-"));
  text = textIn(folder);
  out = join(folder, "model.safetensors");
});

afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true, maxRetries: 20 });
});

function textIn(parent: string): string {
  const file = join(parent, "my text.txt");
  const line = "The same line again and again, with little to learn.\n";
  writeFileSync(file, line.repeat(200));
  return file;
}

/** The command in a process of its own, with its state in the test's folder. */
function train(...args: string[]): {
  child: ChildProcess;
  ended: Promise<Ended>;
  said(part: string): Promise<void>;
} {
  return trainIn(folder, ...args);
}

function trainIn(parent: string, ...args: string[]): ReturnType<typeof train> {
  const child = spawn(
    process.execPath,
    [join(SCRIPTS, "train.ts"), "--state", join(parent, "state"), ...args],
    {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true, // a process group of its own, as a terminal gives it
      env: { ...process.env, NO_COLOR: "1" },
    },
  );
  children.push(child);
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

/** A run that only an early end ends. */
function trainForHours(...more: string[]): ReturnType<typeof train> {
  const hours = ["--steps", "100000", ...SMALL, ...more];
  return train("--text", text, "--out", out, ...hours);
}

/** Runtimes that the command started and that still run. */
function runtimes(): number[] {
  const notes = join(folder, "state/train/pids");
  const pids = existsSync(notes) ? readdirSync(notes).map(Number) : [];
  return pids.filter(isAlive);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function metricsIn(file: string): StepMetrics[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as StepMetrics);
}

test.runIf(process.platform === "linux")(
  "a terminal sees the curve grow, and keeps it",
  async () => {
    const args = ["--state", join(folder, "state"), "--text", text, "--out", out]; // prettier-ignore
    const words = [
      join(SCRIPTS, "train.ts"),
      ...args,
      ...SMALL,
      ...UNSAMPLED,
      "--steps",
      "6",
    ];
    const typed = [process.execPath, ...words].map((word) => `'${word}'`);
    const terminal = spawn(
      "/usr/bin/script",
      ["-qec", `stty cols 90 rows 30; ${typed.join(" ")}`, "/dev/null"],
      { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, TERM: "xterm" } }, // prettier-ignore
    );
    children.push(terminal);
    let shown = "";
    terminal.stdout.on("data", (part: Buffer) => (shown += part.toString()));
    const [code] = (await once(terminal, "close")) as [number];
    expect(code, shown).toBe(0);
    const curve = /\d\.\d\d [⠀-⣿]{60}\r?\n/g;
    // Ten rows, of which the first and the last have a number.
    expect(shown.match(curve)!.length).toBeGreaterThan(2);
    const kept = stripVTControlCharacters(shown.split("run is finished")[1]!);
    expect(kept.match(curve)).toHaveLength(2);
    expect(kept).toMatch(/step 0 +5\r?\n[^]*\ndone val_loss=/);
  },
  PATIENCE_MS,
);

describe("a run to its end", () => {
  const NAME = "nano-mxfp4-rht-eden-seed0";
  const options = ["--steps", "6", ...SMALL];
  let home: string;
  let first: Ended;
  let before: Buffer[];
  let second: Ended;

  const kept = (name: string, file: string) =>
    join(home, "state/runs", name, file);
  const checkpoint = () => kept(NAME, "checkpoint.safetensors");
  const metrics = () => kept(NAME, "metrics.jsonl");

  /** Twice the same run, by others: only where it is computed differs. */
  beforeAll(async () => {
    children = [];
    home = mkdtempSync(join(tmpdir(), "mxfp4-train-test-"));
    const run = (...layout: string[]) =>
      trainIn(home, "--text", textIn(home), ...options, ...layout).ended;
    first = await run();
    before = [checkpoint(), metrics()].map((file) => readFileSync(file));
    const layout = ["--trainers", "3", "--shards", "4", "--verify", "1"];
    second = await run(...layout, ...UNSAMPLED);
  });

  afterAll(() => {
    for (const child of children) child.kill("SIGKILL");
    rmSync(home, { recursive: true, force: true, maxRetries: 20 });
  });

  test("says done on its last line, and leaves a checkpoint and no process", () => {
    expect(first).toMatchObject({ code: 0, stderr: "" });
    const last = first.stdout.trimEnd().split("\n").at(-1)!;
    const done =
      /^done val_loss=(\S+) val_nats_per_byte=\S+ steps=6 tokens=1536 seconds=(\S+) checkpoint=(\S+)$/.exec(
        last,
      );
    expect(last).toMatch(done ? "done" : "a `done …` line");
    // 5.66 is a uniform guess over the 286 ids; six steps are enough to be better.
    expect(Number(done![1])).toBeLessThan(5.4);
    expect(resolve(done![3]!)).toBe(checkpoint());
    expect(first.stdout).toMatch(
      /^trainers' time: [\d.]+ % computing, .*; a step: \d+ ms to commit, [\d.]+ MB pulled, [\d.]+ MB pushed$/m,
    );
    expect(first.stdout).toContain(
      "recipe mxfp4-rht-eden, gradients in mxfp4-eden; 2 trainers, 2 shards",
    );
    const { tensors } = readSafetensors(before[0]!);
    const names = tensors.map(({ name }) => name);
    expect(names).toContain("transformer.h.1.mlp.c_proj.weight");
    const left = join(home, "state/train/pids");
    expect(readdirSync(left).map(Number).filter(isAlive)).toEqual([]);
  });

  test("a second one has the same bytes for other trainers and shards, under a name of its own", () => {
    expect(second).toMatchObject({ code: 0, stderr: "" });
    expect(second.stdout).toContain(
      "3 trainers, 100 % of microbatches by two, 4 shards",
    );
    expect([checkpoint(), metrics()].map((file) => readFileSync(file))).toEqual(
      before,
    );
    const other = kept(`${NAME}-2`, "checkpoint.safetensors");
    expect(readFileSync(other).equals(before[0]!)).toBe(true);
  });

  test("leaves a line of metrics for each step, and one for the last evaluation", () => {
    const lines = metricsIn(metrics());
    expect(lines.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    const losses = lines.map(({ trainLoss }) => typeof trainLoss);
    expect(losses).toEqual([...Array<string>(6).fill("number"), "object"]);
    expect(lines.at(-1)!.valLoss).toBeLessThan(5.4);
  });

  test("ends with a sample, unless none is asked for", () => {
    expect(first.stdout).toMatch(/^a sample:\nThe /m);
    expect(second.stdout).not.toContain("a sample:");
  });

  test("is not overwritten by one of the same name", async () => {
    const named = ["--text", text, "--name", NAME, ...options];
    const refused = await trainIn(home, ...named).ended;
    expect(refused.code).toBe(1);
    expect(refused.stderr).toBe(
      `Expected --name ${NAME} to be new, but ${checkpoint()} is there; --force overwrites it\n`,
    );
    expect(readFileSync(checkpoint()).equals(before[0]!)).toBe(true);
  });

  test("goes on from a checkpoint, on another text too, and with all of its state to the bytes of one run", async () => {
    const args = (name: string, ...more: string[]) =>
      trainIn(home, ...more, ...UNSAMPLED, "--name", name).ended;
    const same = ["--text", textIn(home)];
    const early = await args("early", ...same, ...options, "--full");
    expect(early).toMatchObject({ code: 0, stderr: "" });
    const full = kept("early", "checkpoint.safetensors");
    const from = ["--from", full];
    expect(sample("--tokens", "5", full)).toMatchObject({ status: 0 });
    // As one that had eight steps from the start: rates follow from how many there are.
    const more = await args(
      "more",
      ...same,
      ...from,
      "--resume",
      "--steps",
      "8",
    );
    expect(more).toMatchObject({ code: 0, stderr: "" });
    const lines = metricsIn(kept("more", "metrics.jsonl"));
    expect(lines.map(({ step }) => step)).toEqual([6, 7, 8]);
    expect(lines.at(-1)!.tokens).toBe(8 * 256);

    const other = join(home, "other.txt");
    writeFileSync(
      other,
      "Another text, of the same few letters.\n".repeat(200),
    );
    const tuned = await args(
      "tuned",
      "--text",
      other,
      ...from,
      "--steps",
      "2",
      ...BATCH,
    );
    expect(tuned).toMatchObject({ code: 0, stderr: "" });
    const read = (name: string) =>
      readCheckpoint(readFileSync(kept(name, "checkpoint.safetensors")));
    expect(read("tuned").tokenizer).toEqual(read("early").tokenizer);
    const initial = metricsIn(kept("tuned", "metrics.jsonl"))[0]!;
    expect(initial.step).toBe(0);

    const gguf = join(home, "model.gguf");
    writeFileSync(gguf, "GGUF\x03\0\0\0");
    const refused = [
      [["--from", checkpoint(), "--resume"], 2, "parameters alone in"],
      [["--from", other], 1, "got a file of another kind"],
      [["--from", gguf], 1, "got a GGUF file, which `generate` and llama.cpp"],
      [["--from", join(home, "none")], 1, "Expected --from to be a checkpoint"],
      [[...from, "--tokenizer", "byte"], 2, "Expected neither --tokenizer nor"],
      [[...from, "--resume"], 1, "Expected --text, since the run that is resu"],
      [[...same, ...from, "--resume"], 2, "Expected more `steps` than the 6"],
      [["--resume"], 1, "Expected --resume where a run was killed in"],
    ] as const;
    for (const [more, expected, said] of refused) {
      const { code, stderr } = await args("refused", ...more);
      expect(stderr).toContain(said);
      expect(code).toBe(expected);
    }
  });

  test("is sampled by npm run sample, the same each time", () => {
    const asked = ["--prompt", "Once", "--tokens", "20", "--seed", "7"];
    const daring = [...asked, "--temperature", "0.5", "--top-k", "9"];
    const written = sample(...daring, checkpoint());
    expect(written).toMatchObject({ status: 0, error: "" });
    expect(written.text).toMatch(/^Once[^]{20,}\n$/);
    expect(sample(...daring, checkpoint())).toEqual(written);
    expect(sample(...asked, "--seed", "8", checkpoint()).text).not.toBe(
      written.text,
    );
    expect(sample("--temperature", "-1", checkpoint())).toMatchObject({
      status: 2,
      error:
        'Expected --temperature to be a number from 0, got "-1"\n`npm run sample -- --help` tells what there is\n',
    });
  });

  test("has the bytes of one whose runtimes were killed again and again, while they started too", async () => {
    const run = train(...options, "--text", text, "--out", out);
    await run.said("step 0 ");
    const seen = new Set<number>();
    const deadline = Date.now() + PATIENCE_MS;
    // Each of three runtimes several times: those that are up, and those that only begin to be.
    while (seen.size < 9 && Date.now() < deadline) {
      for (const pid of runtimes()) {
        if (seen.has(pid)) continue;
        seen.add(pid);
        process.kill(pid, "SIGKILL");
      }
      await new Promise((wake) => setTimeout(wake, 5));
    }
    expect(seen.size).toBeGreaterThanOrEqual(9);
    const { code, stderr } = await run.ended;
    expect(code).toBe(0);
    expect(stderr).toMatch(/^edge: its runtime ended; started again$/m);
    expect(stderr).toMatch(/^trainers-\d: its runtime ended; started again$/m);
    expect(readFileSync(out).equals(before[0]!)).toBe(true);
  });
});

function sample(...args: string[]) {
  const script = join(SCRIPTS, "sample.ts");
  const { status, stdout, stderr } = spawnSync(process.execPath, [
    script,
    ...args,
  ]);
  return { status, text: stdout.toString("latin1"), error: stderr.toString() };
}

test("npm run sample refuses what is no checkpoint by what it is", () => {
  const fileOf = (name: string, content: Uint8Array | string) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const plain = writeSafetensors(
    [{ name: "x", shape: [1], dtype: "F32", chunks: [new Uint8Array(4)] }],
    new Map(),
  );
  for (const [file, message, remedy] of [
    [fileOf("a", "GGUF\x03\0\0\0"), "Expected GGUF with a head of at most 8 bytes"], // prettier-ignore
    [fileOf("b", ""), "got an empty file"],
    [fileOf("c", "just some text, long"), "got a file of another kind"],
    [
      fileOf("d", Buffer.concat([...plain.chunks])),
      "got a safetensors file without `mxfp4-edge.config`",
    ],
    [
      join(folder, "none"),
      `got ${join(folder, "none")}: which is not there`,
      /\n(Kept here: |No run is kept here: ).*--url.*\n$/,
    ],
  ] as const) {
    const { status, error } = sample(file);
    expect(error).toContain(message);
    expect(error).toMatch(remedy ?? /^.*\n$/);
    expect(status).toBe(1);
  }
});

test("every option of --help is taken, and does what it says", async () => {
  const options = {
    state: join(folder, "elsewhere"),
    text,
    tokenizer: "bpe",
    vocabulary: "512",
    name: "mine",
    "sample-every": "1",
    recipe: "bf16",
    preset: "small",
    arch: "llama",
    layers: "1",
    width: "128",
    heads: "2",
    groups: "1",
    hidden: "192",
    context: "64",
    steps: "2",
    batch: "6",
    microbatches: "3",
    optimizer: "muon",
    "learning-rate": "0.002",
    "matrix-learning-rate": "0.01",
    schedule: "constant",
    warmup: "1",
    cooldown: "1",
    momentum: "0.9",
    "weight-decay": "0",
    seed: "7",
    "gradient-dtype": "bf16",
    trainers: "2",
    shards: "3",
    subtree: "2",
    verify: "0.5",
    redundancy: "2",
  };
  const args = Object.entries(options).flatMap(([k, v]) => [`--${k}`, v]);
  const { code, stdout, stderr } = await train(...args, "--head-norm").ended;
  expect(stderr).toBe("");
  expect(code).toBe(0);
  for (const part of [
    "parameters: 1 layers, width 128, 2 heads, context 64",
    "recipe bf16, gradients in bf16; 2 trainers, each microbatch by 2, 3 shards",
  ])
    expect(stdout).toContain(part);
  const mine = join(options.state, "runs/mine/checkpoint.safetensors");
  const { config, step, tokenizer } = readCheckpoint(readFileSync(mine));
  expect(step).toBe(2);
  const tokens = tokenizer.encode(readFileSync(text, "utf8"));
  expect(stdout).toContain(
    `my-text: ${tokens.length} bpe tokens of ${tokenizer.vocabulary} ids; 2 steps of 3 × 128 tokens`,
  );
  expect(config.model).toMatchObject({
    arch: "llama",
    groups: 1,
    hidden: 192,
    headNorm: true,
    vocabulary: tokenizer.vocabulary,
  });
  const lengths = tokenizer.tokens().map(({ length }) => length);
  // Of the held-out tokens, all but the first are targets.
  const targets = tokens.slice(Math.floor(tokens.length * 0.95) + 1);
  const bytes = targets.reduce((sum, id) => sum + lengths[id]!, 0);
  const [, valLoss, perByte] =
    /^done val_loss=(\S+) val_nats_per_byte=(\S+) steps=2 /m.exec(stdout) ?? [];
  expect(stdout).toContain(
    `val loss ${valLoss} (${perByte} nats per byte)  over ${targets.length} held-out tokens of ${bytes} bytes`,
  );
  const expected = (Number(valLoss) * targets.length) / bytes;
  expect(Math.abs(Number(perByte) - expected)).toBeLessThan(2e-4);
  // The checkpoint alone is enough to write text, its tokenizer in it.
  const written = sample("--prompt", "Zwölf", "--tokens", "20", mine);
  expect(written).toMatchObject({ status: 0, error: "" });
  expect(Buffer.from(written.text, "latin1").toString()).toMatch(/^Zwölf/);
  expect(config).toMatchObject({
    seed: 7,
    recipe: "bf16",
    optimizer: {
      name: "muon",
      learningRate: 0.002,
      matrixLearningRate: 0.01,
      schedule: "constant",
      warmupSteps: 1,
      cooldownSteps: 1,
      momentum: 0.9,
      weightDecay: 0,
    },
  });

  const help = spawnSync(process.execPath, [
    join(SCRIPTS, "train.ts"),
    "--help",
  ]).stdout.toString();
  const named = [...help.matchAll(/^ +(?:-\w, )?--([\w-]+)/gm)].map(
    (m) => m[1]!,
  );
  // --out goes elsewhere than --name; those two, and --force, are told apart below.
  // And what goes with --url, in join.test.ts.
  const others = ["out", "force", "help", "version"];
  others.push("url", "token", "threads", "detach");
  others.push("from", "resume", "full");
  others.push("head-norm", "config", "json"); // package.test.ts, command-line.test.ts
  expect(named.toSorted()).toEqual(
    [...Object.keys(options), ...others].toSorted(),
  );
});

describe("presets", () => {
  /** Enough of it for all 2,048 ids, and for a context among what is held out. */
  const NOVEL = readFileSync(mobyDick()).subarray(0, 300_000);
  beforeEach(() => writeFileSync(text, NOVEL));

  test.each([
    ["tiny", [], "1071872 parameters", "2 shards"],
    // Twelve sequences a part do not fit a trainer: the parts are more.
    ["small", ["--batch", "48"], "6 × 2048 tokens", "3749376 parameters"],
  ] as const)("%s trains as it is, %j", async (preset, more, ...said) => {
    const args = ["--preset", preset, "--steps", "1", ...UNSAMPLED, ...more];
    const run = train("--text", text, "--out", out, ...args);
    const { code, stdout, stderr } = await run.ended;
    expect(stderr).toBe("");
    expect(code).toBe(0);
    for (const part of said) expect(stdout).toContain(part);
    expect(stdout).toMatch(
      /^done val_loss=[67]\.\d+ val_nats_per_byte=\S+ steps=1 /m,
    );
  });

  test("medium trains where it fits; what does not is refused with a command that does", async () => {
    const large = ["--preset", "medium", "--recipe", "f32", "--steps", "1"];
    large.push("--gradient-dtype", "f32");
    const refused = await train(...large, ...UNSAMPLED, "--text", text).ended;
    expect(refused.code).toBe(2);
    const [, line] = /this fits: npm run train -- (.*)/.exec(refused.stderr)!;
    expect(line).toContain("--preset medium");
    const words = line!
      .match(/"[^"]*"|\S+/g)!
      .map((word) =>
        word.startsWith('"') ? (JSON.parse(word) as string) : word,
      );
    const { code, stdout, stderr } = await train(...words, "--out", out).ended;
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toContain("11532288 parameters");
    expect(stdout).toContain("5 shards");
    expect(stdout).toMatch(
      /^done val_loss=[67]\.\d+ val_nats_per_byte=\S+ steps=1 /m,
    );
  });
});

describe("what is there already", () => {
  test("goes only by --force, which says so", async () => {
    const metrics = join(folder, "model.metrics.jsonl");
    writeFileSync(out, "a checkpoint of days");
    writeFileSync(metrics, "its metrics");
    const args = ["--text", text, "--out", out, "--steps", "1", ...SMALL];
    const refused = await train(...args).ended;
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(
      `Expected --out ${out} to be new, but ${out} is there; --force overwrites it`,
    );
    expect(readFileSync(out, "utf8")).toBe("a checkpoint of days");
    expect(readFileSync(metrics, "utf8")).toBe("its metrics");

    const forced = await train(...args, "--force").ended;
    expect(forced.code).toBe(0);
    expect(forced.stderr).toBe(`overwrites ${out}\noverwrites ${metrics}\n`);
    expect(readCheckpoint(readFileSync(out)).step).toBe(1);
    expect(metricsIn(metrics).length).toBe(2);
  });

  test("keeps its name: a file that comes later has the next one", async () => {
    const from = join(folder, "partial");
    writeFileSync(from, "new");
    for (const name of ["x.y", "x-2.y"])
      writeFileSync(join(folder, name), name);
    expect(await linkFree(from, join(folder, "x.y"))).toBe(
      join(folder, "x-3.y"),
    );
    const there = ["x.y", "x-2.y", "x-3.y"].map((name) =>
      readFileSync(join(folder, name), "utf8"),
    );
    expect(there).toEqual(["x.y", "x-2.y", "new"]);
  });

  test("goes on after SIGKILL of all, by the same command or --resume, to the bytes of a run that was not killed", async () => {
    const steps = ["--text", text, "--steps", "40", ...SMALL, ...UNSAMPLED];
    const whole = await train(...steps, "--name", "whole").ended;
    expect(whole.code).toBe(0);
    const kept = (name: string, file: string) =>
      readFileSync(join(folder, "state/runs", name, file));
    const killed = async (run: ReturnType<typeof train>) => {
      await run.said("step 1");
      run.child.kill("SIGKILL");
      await run.ended;
      await expect.poll(runtimes, { timeout: PATIENCE_MS }).toEqual([]);
    };
    await killed(train(...steps, "--name", "killed"));
    const again = train(
      ...steps,
      "--name",
      "killed",
      "--trainers",
      "1",
      "--force",
    );
    await again.said("goes on at step");
    await killed(again);
    const { code, stdout, stderr } = await train("--resume", ...UNSAMPLED)
      .ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("goes on at step");
    const file = "checkpoint.safetensors";
    expect(kept("killed", file).equals(kept("whole", file))).toBe(true);
    const lines = (name: string) =>
      metricsIn(join(folder, "state/runs", name, "metrics.jsonl")).map(
        // When it was, how long it took, and who told it, may be others'.
        (line) => ({ ...line, committedMs: 0, chain: "", phases: null }),
      );
    expect(lines("killed")).toEqual(lines("whole"));
    expect((await train("--resume").ended).stderr).toContain(
      "Expected --resume where a run was killed",
    );
  });

  test("as the state of a run that was killed is kept, and can be served", async () => {
    const killed = trainForHours();
    await killed.said("step 0");
    const metrics = join(folder, "model.metrics.jsonl");
    await expect
      .poll(() => metricsIn(metrics).length, { timeout: PATIENCE_MS })
      .toBeGreaterThan(2);
    expect(runtimes().length).toBe(3);
    killed.child.kill("SIGKILL");
    await killed.ended;
    await expect.poll(runtimes, { timeout: PATIENCE_MS }).toEqual([]);

    const next = ["--text", text, "--name", "next", "--steps", "1", ...SMALL];
    const { code, stderr } = await train(...next).ended;
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^the run before ended without a checkpoint: what it had is kept in \S+\/unfinished, and `npm start -- --state \S+` serves it\n$/,
    );
    const stateFolder = join(folder, "state/runs/unfinished");
    const edge = await startEdge({ stateFolder, quiet: true });
    try {
      const client = new Client({ baseUrl: edge.url });
      const [run] = await client.runs();
      const answer = await client.run(run!.run).checkpoint();
      const file = new Uint8Array(await answer.arrayBuffer());
      expect(readCheckpoint(file).step).toBeGreaterThan(2);
    } finally {
      await edge.close();
    }
    // Of a run that ended, its checkpoint is what is kept.
    const last = await train(...next, "--force", "--steps", "1").ended;
    expect(last.stderr).not.toContain("without a checkpoint");
    expect(readdirSync(join(folder, "state/runs")).toSorted()).toEqual([
      "next",
      "unfinished",
    ]);
  });
});

describe("an early end", () => {
  test("as a gradient is not finite keeps the parameters, and says what may help", async () => {
    const rate = ["--optimizer", "adamw", "--learning-rate", "1e6"];
    const run = train("--text", text, "--name", "far", ...SMALL, ...rate);
    const { code, stdout } = await run.ended;
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^diverged at step \d+; its parameters are in (\S+\.safetensors)\na gradient was not finite: a lower --learning-rate or --matrix-learning-rate, or a recipe that rounds less$/m,
    );
    const [, file] = /its parameters are in (\S+)/.exec(stdout)!;
    expect(existsSync(file!)).toBe(true);
    expect(runtimes()).toEqual([]);
  });

  test("by SIGTERM, amid samples, cancels the run, and keeps its metrics and its parameters, overwriting nothing", async () => {
    const run = trainForHours("--sample-every", "3");
    const metrics = join(folder, "model.metrics.jsonl");
    await run.said('  "The ');
    writeFileSync(out, "came while it trained");
    run.child.kill("SIGTERM");
    const { code, stdout, stderr } = await run.ended;
    expect(code).toBe(130);
    expect(stdout).toMatch(/^step [1-9]\d* {2}"The /m);
    const [, step] =
      /cancelled at step (\d+); its parameters are in \S*model-2\.safetensors/.exec(
        stdout,
      )!;
    expect(stderr).toContain(`Expected ${out} to be new, but it was made`);
    expect(readFileSync(out, "utf8")).toBe("came while it trained");
    const saved = readFileSync(join(folder, "model-2.safetensors"));
    expect(readCheckpoint(saved).step).toBe(Number(step));
    const steps = metricsIn(metrics).map((line) => line.step);
    expect(steps).toEqual(steps.map((_, index) => index));
    expect(steps.length).toBeGreaterThanOrEqual(Number(step));
    expect(readdirSync(folder).toSorted()).toEqual([
      "model-2.safetensors",
      "model.metrics.jsonl",
      "model.safetensors",
      "my text.txt",
      "state",
    ]);
    expect(runtimes()).toEqual([]);
  });

  test.each([
    ["Ctrl-C in a terminal", "SIGINT"],
    ["timeout", "SIGTERM"],
  ] as const)(
    "by %s, which reaches the runtimes too, does the same, by those",
    async (_, signal) => {
      const run = trainForHours();
      await run.said("step 0");
      process.kill(-run.child.pid!, signal);
      const { code, stdout, stderr } = await run.ended;
      expect(stdout).toMatch(/cancelled at step \d+; its parameters are in /);
      expect(stderr).toBe("cancelling; Ctrl-C again to end at once\n");
      expect(code).toBe(130);
      expect(existsSync(out)).toBe(true);
      expect(runtimes()).toEqual([]);
    },
  );
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
    [
      ["--learning-rate", "1e30"],
      /learningRate` to be at most 1000000, got 1e/,
    ],
    [["--verify", "1.5"], /Expected --verify to be at most 1, got 1.5/],
    [
      ["--verify", "0.1", "--trainers", "1"],
      /Expected --trainers of 2 at least, which --verify 0.1 asks of, got 1/,
    ],
    [
      ["--redundancy", "3"],
      /Expected --trainers of 3 at least, which --redundancy 3 asks of, got 2/,
    ],
    [
      ["--tokenizer", "byte", "--vocabulary", "512"],
      /Expected --vocabulary with --tokenizer bpe alone, got 512 with byte/,
    ],
    [
      ["--vocabulary", "511"],
      /Expected --vocabulary to be a whole number from 512, got "511"/,
    ],
    [
      ["--tokenizer", "bpe", "--vocabulary", "16385"],
      /Expected --vocabulary to be at most 16384, got 16385/,
    ],
    [
      ["--preset", "medium", "--vocabulary", "8192"],
      /; this fits: npm run train -- .*--vocabulary 4096 .*--preset medium --microbatches 8$/m,
    ],
  ])("%j", async (args, message) => {
    const { code, stderr } = await train("--text", text, "--out", out, ...args)
      .ended;
    expect(stderr).toMatch(message);
    // Of the machine it is what is not there, else the call.
    const isAbsent = args.some((arg) => arg.startsWith("no-such-"));
    expect(code).toBe(isAbsent ? 1 : 2);
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
    trainNatsPerByte: 3.25,
    valNatsPerByte: null,
    results: null,
    chain: null,
    phases: {
      leaseMs: 10,
      pullMs: 20,
      computeMs: 150,
      pushMs: 20,
      commitMs: step === 0 ? null : 8,
      pulledBytes: 3_000_000,
      pushedBytes: 1_250_000,
    },
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

  test("tells losses by the byte too, where tokens are none", () => {
    let output = "";
    const out = { write: (part: string) => Boolean((output += part)) };
    const progress = new Progress(out, 1);
    const head = { id: 0, timeMs: 0 };
    const evaluation = { step: 0, valLoss: 4, tokens: 10, bytes: 25 };
    progress.event({
      ...head,
      type: "evaluation",
      ...evaluation,
      valNatsPerByte: 1.6,
    });
    const step = { ...metrics(0), trainLoss: 5, trainNatsPerByte: 2 };
    progress.event({ ...head, type: "step", metrics: step });
    expect(stripVTControlCharacters(output).split("\n")).toEqual([
      "step 0  val loss 4.0000 (1.6000 nats per byte)  over 10 held-out tokens of 25 bytes",
      "step 1/1  loss 5.0000 (2.0000)  val loss 4.0000 (1.6000)",
      "",
    ]);
  });

  test("ends with where the time went, which a run before phases does not tell", () => {
    const steps = [metrics(0), metrics(1), { ...metrics(2), phases: null }];
    expect(timeSpent(steps)).toBe(
      "trainers' time: 75.0 % computing, 5.0 % waiting for leases, 10.0 % pulling, 10.0 % pushing; " +
        "a step: 8 ms to commit, 3.0 MB pulled, 1.3 MB pushed",
    );
    expect(timeSpent(steps.slice(2))).toBeUndefined();
  });

  test("has what it is given above that line, in place, until a line that stays", () => {
    let output = "";
    const out = { isTTY: true, columns: 20, write: (part: string) => Boolean((output += part)) }; // prettier-ignore
    const progress = new Progress(out, 2, () => ["above", "below"]);
    for (const event of events(2)) progress.event(event);
    progress.line("over");
    // The second comes too soon after the first to be drawn.
    expect(output).toBe(
      `above\nbelow\nstep 1/2  loss 3.25\r\x1b[2K${"\x1b[1A\x1b[2K".repeat(2)}over\n`,
    );
  });

  test.each([
    [{ columns: 5, rows: 4 }, true],
    [{ columns: 5, rows: 3 }, false],
    [{ columns: 4, rows: 4 }, false],
  ])(
    "on a terminal of %o has what is above that line only where it can be cleared again: %s",
    (size, isShown) => {
      let output = "";
      const out = { isTTY: true, ...size, write: (part: string) => Boolean((output += part)) }; // prettier-ignore
      const progress = new Progress(out, 1, () => ["wide", "low"]);
      progress.event(events(1)[0]!);
      expect(output.startsWith("wide\nlow\nste")).toBe(isShown);
      expect(output.startsWith("ste")).toBe(!isShown);
    },
  );

  test("is one line that changes on a terminal", () => {
    const output = written(true, 400);
    expect(output.split("\n").length).toBe(1);
    expect(output.split("\r\u001b[2K").length).toBe(400);
  });
});
