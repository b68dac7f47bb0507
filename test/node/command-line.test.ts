/** What all commands have in common: help, exit codes, options from a file. */
import { spawn, spawnSync } from "node:child_process";
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
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  test,
  vi,
} from "vitest";
import { AppError } from "../../src/api/errors.ts";
import { loadAll } from "../../src/cli/commands.ts";
import { BrokenOff, Unanswered } from "../../src/client/broken-off.ts";
import { withConfig } from "../../src/cli/config-file.ts";
import { refusedAsTyped, UsageError } from "../../src/cli/file-arguments.ts";
import { isNewEnough } from "../../src/cli/newer-node.ts";
import { namedModel } from "../../src/cli/named-model.ts";
import { nextStep, Remedied } from "../../src/cli/next-step.ts";
import { trainArgs } from "../../src/cli/train/arguments.ts";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import { usage } from "../../src/cli/usage.ts";
import { askedTwice } from "../../src/local/signals.ts";

const MAIN = resolve(import.meta.dirname, "../../src/cli/main.ts");
const ALL = await loadAll();
const NAMES = ALL.map(({ name }) => name);
const MODEL = "model.safetensors";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-command-test-"));
});

afterEach(() => vi.unstubAllEnvs());
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function command(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [MAIN, ...args],
    {
      cwd: folder,
      encoding: "utf8",
      env: { ...process.env, NO_COLOR: "1" },
      timeout: 30_000,
      killSignal: "SIGKILL",
    },
  );
  return { status, stdout, stderr };
}

/** Of 2 × 32 zeros. */
function oneTensor(): Buffer {
  const { head, dataBytes } = writeHead(
    [
      {
        name: "model.layers.0.mlp.up_proj.weight",
        dtype: "F32",
        shape: [2, 32],
      },
    ],
    new Map(),
  );
  return Buffer.concat([head, Buffer.alloc(dataBytes)]);
}

test("the help has every command and every exit code, in 80 columns", () => {
  const { status, stdout } = command("--help");
  expect(status).toBe(0);
  for (const name of [...NAMES, "completion"])
    expect(stdout).toMatch(new RegExp(`^  ${name} `, "m"));
  expect(stdout.replaceAll("\n", " ")).toMatch(
    /Exit codes: 0 .*; 1 .*; 2 .*; 130 /,
  );
  expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
});

test.each([MAIN, resolve(MAIN, "../../scripts/clean.ts")])(
  "%s says in one line that its reader has left",
  async (script) => {
    // It begins once nobody reads it any more.
    const begin = `read -r _; exec "${process.execPath}" "${script}" --help`;
    const child = spawn("sh", ["-c", begin], { stdio: "pipe" });
    child.stdout.destroy();
    await once(child.stdout, "close");
    child.stdin.end("\n");
    const [told, [status]] = await Promise.all([
      text(child.stderr),
      once(child, "exit"),
    ]);
    expect(told).toBe(
      "Expected a reader of the whole output, got none (write EPIPE)\n",
    );
    expect(status).toBe(1);
  },
);

test("the list of commands is shown without loading any of them", () => {
  const hook = `import { registerHooks } from "node:module";
    registerHooks({ load(url, context, next) { console.error(url); return next(url, context); } });`;
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      "--import",
      `data:text/javascript,${encodeURIComponent(hook)}`,
      MAIN,
      "--help",
    ],
    { cwd: folder, encoding: "utf8" },
  );
  expect(status).toBe(0);
  expect(stderr).toContain("/src/cli/usage.ts");
  expect(stderr).not.toMatch(
    /src\/(cli\/(quantize|train|runs)|checkpoints|kernels|model|training)|\/zod\//,
  );
});

test.each(ALL)(
  "$name has a help of its own in 80 columns, and --json",
  ({ name, args }) => {
    const lines = usage({ name, description: "What it does", args }).split(
      "\n",
    );
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
    expect(args.json).toMatchObject({ type: "boolean" });
  },
);

test.each([
  [["no-such"], 2, 'got "no-such"\nSee `npm run mxfp4-edge -- --help`\n'],
  [
    ["runs", "exprt"],
    2,
    "Expected options alone, got exprt\nSee `npm run mxfp4-edge -- runs --help`",
  ],
  [
    ["runs", "export"],
    2,
    "Expected <run>, got none\nSee `npm run mxfp4-edge -- runs export --help`\n",
  ],
  [["rewind", "a"], 2, "Expected --step, got none\n"],
  [["inspect", "--jsn"], 2, "got --jsn; the closest is --json\n"],
  [["inspect", "-model"], 2, "Expected an option of this command, got -m\n"],
  [
    ["train", "--stepz", "3"],
    2,
    "got --stepz; the closest is --steps\nSee `npm run train -- --help`",
  ],
  [
    ["generate", "x", "--tokens", "9"],
    2,
    "the closest are --max-tokens, --token\n",
  ],
  [["quantise", "x"], 2, "the closest are quantize, dequantize\n"],
  [
    ["train", "--steps", "x"],
    2,
    'from 1, got "x"\nSee `npm run train -- --help`',
  ],
  [["serve", "--port", "x"], 2, 'to 65535, got "x"\nSee `npm start -- --help`'],
  [
    ["ablation", "--seeds", "0"],
    2,
    'got "0"\nSee `npm run ablation -- --help`',
  ],
  [["completion", "csh"], 2, 'got "csh"'],
  [
    ["runs", "--url", "http://127.0.0.1:1"],
    1,
    "on this machine with `npm start`",
  ],
  [["runs", "--url", "here"], 2, "Expected --url to be an http or https URL"],
  [["runs", "--token", "a b"], 2, "Expected --token to be printable"],
  [
    ["join", "here", "--run=a"],
    2,
    "Expected the edge to be an http or https URL",
  ],
  [["watch", ""], 2, "Expected <run>, got an empty string"],
  [["pause", "a", "b"], 2, "Expected <run> alone, got a b\n"],
  [["revoke", "a", "b", "c"], 2, "Expected <run> <id> alone, got a b c\n"],
  [["generate", "x", "--json"], 2, "Expected --prompt with --json"],
  [["audit", "a", "--step", "1.5"], 2, 'from 0, got "1.5"\n'],
  [["train", "--detach"], 2, "Expected --detach only with --url"],
  [["train", "--resume", "--url", "http://x"], 2, "with --from, got"],
  [["train", "--verify", "2"], 2, "at most 1, got 2\nSee `npm run train"],
  [["train", "--batch", "5", "--microbatches", "2"], 2, "a multiple of"],
  [["train", "--vocabulary", "16385"], 2, "at most 16384, got 16385\n"],
  [
    ["train", "--from", import.meta.filename],
    1,
    "got a file of another kind\n",
  ],
  [["train", "--name", "-x"], 2, 'the first a letter or digit, got "-x"\n'],
  [["train", "--text", "no-such"], 1, "to be a file, got no-such\n"],
  [["train", "--context", "8192", "--batch", "1"], 2, "of a trainer, got 1"],
  [["quantize", "no-such", "-o", "x"], 1, "got no-such: it does not exist\n"],
  [["generate", "no-such"], 1, "got no-such: it does not exist\n"],
  [["runs", "export", "."], 1, "or a folder with metrics.jsonl, got .\n"],
  [["ablation", "--recipes", "no-such"], 2, 'got "no-such"\n'],
] as const)(
  "%j ends with exit code %d, and says what to do",
  (args, code, told) => {
    const { status, stdout, stderr } = command(...args);
    expect(stderr).toContain(told);
    expect(stdout).toBe("");
    expect(status).toBe(code);
  },
);

/** Where Node's own recursive `mkdir` asks for ever, and no signal ends it. */
test
  .runIf(existsSync("/proc/self"))
  .each([
    [["quantize", MODEL, "-o", "/proc/x.safetensors"]],
    [["quantize", MODEL, "-o", "/proc/x/y.safetensors"]],
    [["runs", "export", "kept", "-o", "/proc/x.csv"]],
    [["runs", "export", "kept", "--format=tensorboard", "-o", "/proc/x"]],
    [["train", "--out", "/proc/x.safetensors"]],
    [["train", "--state", "/proc/x"]],
    [["train", "--state", "/proc", "--name", "a"]],
    [["serve", "--port=0", "--state", "/proc/x/y"]],
    [["ablation", "--quick", "--out", "/proc/x/y"]],
    [["ablation", "--quick", "--state", "/proc/x"]],
  ] as const)("%j ends at once, since nothing can be written", (args) => {
  mkdirSync(join(folder, "kept"), { recursive: true });
  writeFileSync(join(folder, "kept/metrics.jsonl"), '{"step":0}\n');
  writeFileSync(join(folder, MODEL), oneTensor());
  const { status, stdout, stderr } = command(...args);
  expect(stderr).toMatch(/Expected a writable folder, got \/proc/);
  expect([stdout, status]).toEqual(["", 1]);
});

test("no file of src has folders made by Node's recursive mkdir", () => {
  const src = resolve(import.meta.dirname, "../../src");
  const files = readdirSync(src, { recursive: true, encoding: "utf8" });
  const makers = files.filter(
    (file) =>
      /\.[jt]s$/.test(file) &&
      !file.startsWith("scripts/build") && // of the clone itself
      /mkdir(Sync)?\([^;]*recursive/.test(
        readFileSync(join(src, file), "utf8"),
      ),
  );
  expect(makers).toEqual([]);
});

describe("a variable that is empty", () => {
  test.each([
    ["API_TOKEN", ["serve", "--port", "0"]],
    ["MXFP4_EDGE_URL", ["runs"]],
    ["MXFP4_EDGE_TOKEN", ["runs"]],
  ])("%s, is refused by its name", (name, args) => {
    vi.stubEnv(name, "");
    const { status, stdout, stderr } = command(...args);
    expect(stderr).toContain(
      `Expected $${name} to have a value or to be unset, got an empty string\n`,
    );
    expect([stdout, status]).toEqual(["", 2]);
  });

  test("and one that no header can bear: both are told by where they stand", () => {
    vi.stubEnv("API_TOKEN", "a b");
    vi.stubEnv("HF_TOKEN", "ü");
    for (const [args, place] of [
      [["serve", "--port", "0"], "$API_TOKEN"],
      [["serve", "--port", "0", "--token", "ü"], "--token"],
      [["inspect", "http://127.0.0.1:1/x/"], "$HF_TOKEN"],
      [["inspect", "http://127.0.0.1:1/x/", "--token", "ü"], "--token"],
    ] as const) {
      const { status, stderr } = command(...args);
      expect(stderr).toContain(`Expected ${place} to be printable ASCII`);
      expect(status).toBe(2);
    }
  });

  test("HF_TOKEN, is none, as for the hub's own programs", () => {
    vi.stubEnv("HF_TOKEN", "");
    const { status, stderr } = command("inspect", "http://127.0.0.1:1/x/");
    expect(stderr).toContain("Expected a readable file, got http:");
    expect(status).toBe(1);
  });
});

test("what an edge refuses of typed values is a wrong call", async () => {
  for (const code of ["invalid_config", "invalid_option"] as const)
    await expect(
      refusedAsTyped(Promise.reject(new AppError(code, "Expected it"))),
    ).rejects.toThrow(UsageError);
  const absent = new AppError("run_not_found", "Expected a run");
  await expect(refusedAsTyped(Promise.reject(absent))).rejects.toBe(absent);
});

test("what is sent to an edge is looked for before the edge is", () => {
  vi.stubEnv("MXFP4_EDGE_URL", "http://127.0.0.1:1");
  expect(command("upload", "no-such-file")).toMatchObject({
    status: 1,
    stderr: "Expected a readable file, got no-such-file: it does not exist\n",
  });
});

test("what an edge refuses is told with what to do about it", () => {
  const refusal = new AppError("unauthorized", "Expected a token");
  expect(nextStep(refusal)).toContain("$MXFP4_EDGE_TOKEN");
  expect(nextStep(new AppError("run_not_found", "none"))).toContain("runs");
  expect(nextStep(new Error("a bug"))).toBeUndefined();
  // An edge that refuses for a while is there.
  const busy = new AppError("unavailable", "The object restarted");
  expect(nextStep(busy)).toMatch(/^The edge cannot do this at the moment/);
  const gone = new Unanswered("http://edge", new Error("ECONNREFUSED"));
  expect(nextStep(gone)).toMatch(/^No edge answers there: /);
  expect(nextStep(new BrokenOff("2 bytes", "1"))).toContain(
    "repeat the command",
  );
});

describe("a model that is named", () => {
  const MISSING = /^Expected a readable file, got my-run: it does not exist/;

  function refusalOf(state: string): Remedied {
    try {
      namedModel("my-run", "generate", state);
    } catch (error) {
      if (error instanceof Remedied) return error;
    }
    throw new Error("Expected a refusal with a remedy");
  }

  test("is a path, or the folder of a run that is kept", () => {
    const run = join(folder, "state/runs/my-run");
    mkdirSync(run, { recursive: true });
    expect(namedModel(run, "generate")).toBe(run);
    const checkpoint = join(run, "checkpoint.safetensors");
    writeFileSync(checkpoint, "");
    expect(namedModel(run, "generate")).toBe(checkpoint);
    expect(namedModel(checkpoint, "generate")).toBe(checkpoint);
    writeFileSync(join(run, "config.json"), "{}");
    expect(namedModel(run, "generate")).toBe(run);
  });

  test("and is not there, is told with what is", () => {
    const none = refusalOf(join(folder, "none"));
    expect(none.message).toMatch(MISSING);
    expect(nextStep(none)).toMatch(/^No run is kept here; .* add --url; /);
    const state = join(folder, "kept");
    const keep = (name: string) => {
      mkdirSync(join(state, "runs", name), { recursive: true });
      writeFileSync(join(state, "runs", name, "checkpoint.safetensors"), "");
    };
    keep("other");
    expect(nextStep(refusalOf(state))).toMatch(
      /^Kept here: \S+other\. For a run of/,
    );
    keep("my-run");
    expect(nextStep(refusalOf(state))).toMatch(
      /^`npm run mxfp4-edge -- generate \S+my-run` uses the run/,
    );
  });
});

test("a Ctrl-C that comes twice at once, as from npm, is one", () => {
  vi.useFakeTimers();
  try {
    const said: string[] = [];
    const listener = askedTwice(
      () => said.push("asked"),
      () => said.push("at once"),
    );
    listener("SIGINT");
    listener("SIGINT");
    expect(said).toEqual(["asked"]);
    vi.advanceTimersByTime(1_001);
    listener("SIGTERM");
    expect(said).toEqual(["asked"]);
    listener("SIGINT");
    expect(said).toEqual(["asked", "at once"]);
  } finally {
    vi.useRealTimers();
  }
});

test("runtimes start on a Node that has what they need", () => {
  for (const [version, isEnough] of [
    ["20.20.2", false],
    ["22.12.0", false],
    ["22.13.0", true],
    ["24.0.0", true],
  ] as const)
    expect(isNewEnough(version), version).toBe(isEnough);
});

describe("--config", () => {
  const written = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const TOML =
    'preset = "nano"\nsteps = 20\nfull = true\nresume = false\n"learning-rate" = 0.5\n';
  const JSON_TEXT =
    '{"preset": "nano", "steps": 20, "full": true, "resume": false, "learning-rate": 0.5}';
  const EXPECTED = [
    "--preset=nano",
    "--steps=20",
    "--full",
    "--learning-rate=0.5",
  ];

  test.each([
    ["run.toml", TOML],
    ["run.json", JSON_TEXT],
    ["marked.toml", `\ufeff${TOML}`],
    ["marked.json", `\ufeff${JSON_TEXT}`],
  ])("%s says what options say", (name, text) => {
    const typed = ["--config", written(name, text)];
    expect(withConfig(typed, trainArgs)).toEqual([...EXPECTED, ...typed]);
    const joined = [`--config=${join(folder, name)}`];
    expect(withConfig(joined, trainArgs)).toEqual([...EXPECTED, ...joined]);
  });

  test("what is typed wins, and a list is joined", () => {
    const path = written(
      "list.toml",
      'steps = 20\nseed = 1\ntext = ["a", 2]\n',
    );
    const typed = ["--steps", "3", "--config", path, "--seed=7"];
    expect(withConfig(typed, trainArgs)).toEqual(["--text=a,2", ...typed]);
  });

  test.each([
    ["typo.toml", "stepz = 3", 'got "stepz"'],
    ["near.toml", "learning_rate = 3", "; the closest is learning-rate"],
    ["self.toml", 'config = "a"', /options \(text, .*got "config"/],
    ["table.toml", "[optimizer]\nname = 1", '"optimizer"'],
    ["switch.toml", "full = 1", "to be true or false, got 1"],
    [
      "text.toml",
      "text = true",
      "a string, a number or a list of these, got true",
    ],
    ["nested.json", '{"text": {"a": 1}}', 'got {"a":1}'],
    ["array.json", "[1]", "option names with values, got [1]"],
    ["broken.toml", "steps =", "to be TOML: "],
    ["broken.json", "{", "to be JSON: "],
    ["run.yaml", "steps: 3", "a .toml or .json file"],
  ])("%s is refused", (name, text, message) => {
    const typed = ["--config", written(name, text)];
    expect(() => withConfig(typed, trainArgs)).toThrow(message);
  });

  test("one that is not there is refused, by the command too", () => {
    const { status, stderr } = command("train", "--config", "none.toml");
    expect(stderr).toContain('a .toml or .json file, got "none.toml"');
    expect(status).toBe(2);
  });
});
