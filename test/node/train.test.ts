/** `npm run train` as a person runs it: a process, what it prints, how it ends, what it leaves. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { stripVTControlCharacters } from "node:util";
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  onTestFinished,
  test,
} from "vitest";
import {
  readSafetensors,
  writeSafetensors,
} from "../../src/formats/containers/safetensors.ts";
import { BPE_VOCABULARY } from "../../src/api/dataset.ts";
import type { TrainArgs } from "../../src/cli/train/arguments.ts";
import type { Origin } from "../../src/cli/train/origin.ts";
import { tokenizerOf } from "../../src/cli/train/tokenizer-options.ts";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import { isAlive } from "../../src/local/alive.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import {
  BATCH,
  type Ended,
  metricsIn,
  PATIENCE_MS,
  SCRIPTS,
  SMALL,
  TrainingPlace,
  UNSAMPLED,
} from "../support/train-command.ts";

let place: TrainingPlace;
beforeEach(() => {
  place = new TrainingPlace();
});
afterEach(() => place.end());

test.runIf(process.platform === "linux")(
  "a terminal sees the curve grow, and keeps it",
  async () => {
    const { folder, text, out } = place;
    const args = [
      "--state",
      join(folder, "state"),
      "--text",
      text,
      "--out",
      out,
    ];
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
      {
        stdio: ["pipe", "pipe", "inherit"],
        env: { ...process.env, TERM: "xterm" },
      },
    );
    onTestFinished(() => void terminal.kill("SIGKILL"));
    let shown = "";
    terminal.stdout.on("data", (part: Buffer) => (shown += part.toString()));
    const [code] = (await once(terminal, "close")) as [number];
    expect(code, shown).toBe(0);
    const curve = /\d\.\d\d [⠀-⣿]{60}\r?\n/g;
    // Ten rows, of which the first and the last have a number.
    expect(shown.match(curve)!.length).toBeGreaterThan(2);
    const kept = stripVTControlCharacters(shown.split("run is finished")[1]!);
    expect(kept.match(curve)).toHaveLength(2);
    expect(kept).toMatch(/step 0 +nats per byte +5\r?\n[^]*\ndone val_loss=/);
  },
  PATIENCE_MS,
);

describe("a run to its end", () => {
  const NAME = "nano-mxfp4-rht-eden-seed0";
  const options = ["--steps", "6", ...SMALL];
  let home: TrainingPlace;
  let first: Ended;
  let before: Buffer[];
  let second: Ended;
  let third: Ended;

  const kept = (name: string, file: string) =>
    join(home.folder, "state/runs", name, file);
  const checkpoint = () => kept(NAME, "checkpoint.safetensors");
  const metrics = () => kept(NAME, "metrics.jsonl");

  /** The same run three times, by others: only where it is computed differs. */
  beforeAll(async () => {
    home = new TrainingPlace();
    const run = (...layout: string[]) =>
      home.train("--text", home.text, ...options, ...layout).ended;
    first = await run();
    before = [checkpoint(), metrics()].map((file) => readFileSync(file));
    const layout = ["--trainers", "3", "--shards", "4", "--verify", "1"];
    second = await run(...layout, ...UNSAMPLED);
    third = await run("--threads", "2", ...UNSAMPLED);
  });

  afterAll(() => home.end());

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
    const left = join(home.folder, "state/train/pids");
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

  test("a third one has them of threads of the command, and of no process beside them", () => {
    expect(third).toMatchObject({ code: 0, stderr: "" });
    expect(third.stdout).toContain("; 2 trainers, 2 shards");
    const joined = (text: string) =>
      [...text.matchAll(/^trainer (\S+) joined$/gm)].map((match) => match[1]!);
    expect(joined(first.stdout)[0]).toMatch(/^edge-/);
    expect(joined(third.stdout).length).toBeGreaterThan(0);
    for (const name of joined(third.stdout)) expect(name).toMatch(/-\d+-[12]$/);
    const other = kept(`${NAME}-3`, "checkpoint.safetensors");
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
    const named = ["--text", place.text, "--name", NAME, ...options];
    const refused = await home.train(...named).ended;
    expect(refused.code).toBe(1);
    expect(refused.stderr).toBe(
      `Expected --name ${NAME} to be new, but ${checkpoint()} exists; --force overwrites it\n`,
    );
    expect(readFileSync(checkpoint()).equals(before[0]!)).toBe(true);
  });

  test("goes on from a checkpoint, on another text too, and with all of its state to the bytes of one run", async () => {
    const args = (name: string, ...more: string[]) =>
      home.train(...more, ...UNSAMPLED, "--name", name).ended;
    const same = ["--text", home.text];
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

    const other = join(home.folder, "other.txt");
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

    const gguf = join(home.folder, "model.gguf");
    writeFileSync(gguf, "GGUF\x03\0\0\0");
    const refused = [
      [["--from", checkpoint(), "--resume"], 2, "parameters only in"],
      [["--from", other], 1, "got a file of another kind"],
      [["--from", gguf], 1, "Expected GGUF with a head of at most 8 bytes"],
      [
        ["--from", join(home.folder, "none")],
        1,
        "Expected --from to be a checkpoint",
      ],
      [[...from, "--tokenizer", "byte"], 2, "Expected no --tokenizer or"],
      [[...from, "--resume"], 1, "Expected --text to be the text of the resu"],
      [[...same, ...from, "--resume"], 2, "Expected more --steps than the 6"],
      [["--resume"], 1, "Expected --resume with an interrupted run in"],
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
        'Expected --temperature to be a number from 0, got "-1"\nSee `npm run sample -- --help`\n',
    });
  });

  test("has the bytes of one whose runtimes were killed again and again, while they started too", async () => {
    const run = place.train(
      ...options,
      "--text",
      place.text,
      "--out",
      place.out,
    );
    await run.said("step 0 ");
    const seen = new Set<number>();
    const deadline = Date.now() + PATIENCE_MS;
    // Each of three runtimes several times: those that are up, and those that only begin to be.
    while (seen.size < 9 && Date.now() < deadline) {
      for (const pid of place.runtimes()) {
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
    expect(readFileSync(place.out).equals(before[0]!)).toBe(true);
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
    writeFileSync(join(place.folder, name), content);
    return join(place.folder, name);
  };
  const plain = writeSafetensors(
    [{ name: "x", shape: [1], dtype: "F32", chunks: [new Uint8Array(4)] }],
    new Map(),
  );
  for (const [file, message, remedy] of [
    [
      fileOf("a", "GGUF\x03\0\0\0"),
      "Expected GGUF with a head of at most 8 bytes",
    ],
    [fileOf("b", ""), "got an empty file"],
    [fileOf("c", "just some text, long"), "got a file of another kind"],
    [
      fileOf("d", Buffer.concat([...plain.chunks])),
      "got a safetensors file without `mxfp4-edge.config`",
    ],
    [
      join(place.folder, "none"),
      `got ${join(place.folder, "none")}: it does not exist`,
      /\n(Kept here: |No run is kept here; ).*--url.*\n$/,
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
    state: join(place.folder, "elsewhere"),
    text: place.text,
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
  const { code, stdout, stderr } = await place.train(...args, "--head-norm")
    .ended;
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
  const tokens = tokenizer.encode(readFileSync(place.text, "utf8"));
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
  const named = [...help.matchAll(/^ {2,6}(?:-\w, )?--([\w-]+)/gm)].map(
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
  beforeEach(() => writeFileSync(place.text, NOVEL));

  test.each([
    ["tiny", [], "1071872 parameters", "2 shards"],
    // Twelve sequences a part do not fit a trainer: the parts are more.
    ["small", ["--batch", "48"], "6 × 2048 tokens", "3749376 parameters"],
  ] as const)("%s trains as it is, %j", async (preset, more, ...said) => {
    const args = ["--preset", preset, "--steps", "1", ...UNSAMPLED, ...more];
    const run = place.train("--text", place.text, "--out", place.out, ...args);
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
    const refused = await place.train(
      ...large,
      ...UNSAMPLED,
      "--text",
      place.text,
    ).ended;
    expect(refused.code).toBe(2);
    const [, line] = /this fits: npm run train -- (.*)/.exec(refused.stderr)!;
    expect(line).toContain("--preset medium");
    const words = line!
      .match(/"[^"]*"|\S+/g)!
      .map((word) =>
        word.startsWith('"') ? (JSON.parse(word) as string) : word,
      );
    const { code, stdout, stderr } = await place.train(
      ...words,
      "--out",
      place.out,
    ).ended;
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toContain("11532288 parameters");
    expect(stdout).toContain("5 shards");
    expect(stdout).toMatch(
      /^done val_loss=[67]\.\d+ val_nats_per_byte=\S+ steps=1 /m,
    );
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
      /Expected --out to be in an existing folder, got no-such-folder\/x/,
    ],
    [
      ["--out", "x.gguf"],
      /Expected --out to be a name for safetensors, .*, got x\.gguf/,
    ],
    [["--width", "65"], /65/],
    [
      ["--learning-rate", "1e30"],
      /Expected --learning-rate to be at most 1000000, got 1e/,
    ],
    [
      ["--steps", "9", "--warmup", "10"],
      /Expected --warmup to be at most .* 9 steps, got 10/,
    ],
    [["--context", "5000"], /Expected --context to be at most 4096, got 5000/],
    [["--shards", "65"], /Expected --shards to be at most 64, got 65/],
    [
      ["--heads", "3"],
      /Expected --width to be a multiple of --heads \(3\), got 128/,
    ],
    [
      ["--groups", "3"],
      /Expected --groups with --arch llama alone, got 3 with gpt2/,
    ],
    [
      ["--head-norm"],
      /Expected --head-norm with --arch llama alone, got true with gpt2/,
    ],
    [
      ["--trainers", "65"],
      /Expected --trainers to be a whole number from 1 to 64, got "65"/,
    ],
    [
      ["--url", "http://127.0.0.1:9", "--trainers", "17"],
      /Expected --trainers to be a whole number from 0 to 16, got "17"/,
    ],
    [
      [
        "--from",
        join(import.meta.dirname, "../fixtures/hf/gpt2"),
        "--preset",
        "nano",
      ],
      /Expected --from, .*, without --preset, got --preset nano beside it/,
    ],
    [
      ["--threads", "65"],
      /Expected --threads to be a whole number from 0 to 64, got "65"/,
    ],
    [
      ["--from", join(import.meta.dirname, "../fixtures/hf/gpt2")],
      /Expected the model of --from to have a tokenizer.json, .* the 320 ids .*, got none; a new one cannot be learned .* be 512 to 16384$/m,
    ],
    [["--verify", "1.5"], /Expected --verify to be at most 1, got 1.5/],
    [
      ["--verify", "0.1", "--trainers", "1"],
      /Expected --trainers to be at least 2, as --verify 0.1 requires, got 1/,
    ],
    [
      ["--redundancy", "3", "--threads", "2"],
      /Expected --threads to be at least 3, as --redundancy 3 requires, got 2/,
    ],
    [
      ["--trainers", "0"],
      /--trainers to be a whole number from 1 to 64, got "0"/,
    ],
    [
      ["--trainers", "0", "--threads", "0"],
      /--trainers to be a whole number from 1 to 64, got "0"/,
    ],
    [
      ["--redundancy", "3"],
      /Expected --trainers to be at least 3, as --redundancy 3 requires, got 2/,
    ],
    [
      ["--tokenizer", "byte", "--vocabulary", "512"],
      /Expected --vocabulary only with --tokenizer bpe, got 512 with byte/,
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
      /; this fits: npm run train -- .*--vocabulary 4096 .*--preset medium --microbatches 32$/m,
    ],
  ])("%j", async (args, message) => {
    const { code, stderr } = await place.train(
      "--text",
      place.text,
      "--out",
      place.out,
      ...args,
    ).ended;
    expect(stderr).toMatch(message);
    // Of the machine it is what is not there, else the call.
    const isAbsent = args.some((arg) => arg.startsWith("no-such-"));
    expect(code).toBe(isAbsent ? 1 : 2);
    expect(place.runtimes()).toEqual([]);
  });

  test("ids are learned for a model of as many as can be, and a larger one is told so", () => {
    const refusal = (vocabulary: number) => {
      const origin = { shape: { vocabulary }, tokenizer: undefined };
      return () =>
        tokenizerOf({} as TrainArgs, {}, origin as unknown as Origin);
    };
    const { most } = BPE_VOCABULARY;
    expect(refusal(most)).toThrow(
      `--tokenizer bpe --vocabulary ${most} learns`,
    );
    expect(refusal(most + 1)).toThrow(
      `cannot be learned from the text, since its vocabulary would have to be 512 to ${most}`,
    );
  });
});
