/** Text in Node: what test/generation/decoder.test.ts writes in workerd, and the command. */
import { arena } from "../support/kernels-node.ts";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { PINNED_TEXTS } from "../support/pinned-texts.ts";
import { ggufOfFolder } from "../support/gguf-of-folder.ts";
import { splitGguf } from "../support/split-gguf.ts";
import {
  folderIn,
  gpt2Directory,
  PINNED_SHAPE,
  pinnedTexts,
  written,
} from "../support/text-models.ts";

const MAIN = resolve(import.meta.dirname, "../../src/cli/main.ts");
const FILES = gpt2Directory({ ...PINNED_SHAPE, vocabulary: 256 });

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-generation-"));
  for (const [name, bytes] of FILES) writeFileSync(join(folder, name), bytes);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function generate(args: string[], input = "") {
  const call = [MAIN, "generate", ...args];
  return spawnSync(process.execPath, call, { encoding: "utf8", input });
}

test("what is written in workerd is written here", async () => {
  expect(arena.ownedBytes).toBe(0);
  expect(await pinnedTexts()).toEqual(PINNED_TEXTS);
});

test("the command writes the text, or all that is known of it", async () => {
  const options = { maxTokens: 12, seed: 2, topK: 9, topP: 0.9 };
  const expected = await written(FILES, "ab", options, "mxfp4");
  const args = [folder, "--prompt", "ab", "--max-tokens", "12", "--seed=2"];
  args.push("--top-k=9", "--top-p=0.9", "--weights=mxfp4");
  const { stdout, stderr, status } = generate(args);
  expect(stderr).toBe("");
  expect([stdout, status]).toEqual([`ab${expected.text}\n`, 0]);
  expect(JSON.parse(generate([...args, "--json"]).stdout)).toEqual({
    prompt: "ab",
    text: expected.text,
    ...expected.ending,
  });
});

test("a GGUF writes what its directory does, and one of another architecture is refused", async () => {
  const path = join(folder, "model.gguf");
  const bytes = await ggufOfFolder(folderIn(FILES), { types: ["*=f32"] });
  writeFileSync(path, bytes);
  const args = ["--prompt", "ab", "--max-tokens=12", "--seed=3"];
  const whole = generate([folder, ...args]);
  expect(whole.status).toBe(0);
  expect(generate([path, ...args]).stdout).toBe(whole.stdout);
  const alone = join(folder, "alone");
  mkdirSync(alone);
  writeFileSync(join(alone, "any-name.gguf"), bytes);
  expect(generate([alone, ...args]).stdout).toBe(whole.stdout);
  const cut = join(folder, "parts");
  mkdirSync(cut);
  for (const [name, part] of await splitGguf(bytes, [0, 5, 100], "my"))
    writeFileSync(join(cut, name), part);
  const first = join(cut, "my-00001-of-00003.gguf");
  for (const named of [cut, first])
    expect(generate([named, ...args]).stdout).toBe(whole.stdout);
  rmSync(join(cut, "my-00002-of-00003.gguf"));
  const missing = generate([first, ...args]);
  expect([missing.status, missing.stdout]).toEqual([1, ""]);
  expect(missing.stderr).toMatch(/my-00002-of-00003\.gguf: it does not exist/);
  const at = Buffer.from(bytes).indexOf("gpt2");
  bytes.set(new TextEncoder().encode("gptj"), at);
  writeFileSync(path, bytes);
  const refused = generate([path, ...args]);
  expect([refused.status, refused.stdout]).toEqual([1, ""]);
  expect(refused.stderr).toContain(
    'Expected a GGUF of `general.architecture` gpt2, llama, qwen2, qwen3, got "gptj"',
  );
});

test("without a prompt, lines and the model's text follow one another", async () => {
  const options = { maxTokens: 6, temperature: 0 };
  const args = [folder, "--max-tokens=6", "--temperature=0"];
  const first = (await written(FILES, "ab", options)).text;
  const second = (await written(FILES, `ab${first}cd`, options)).text;
  expect(generate(args, "ab\ncd\n").stdout).toBe(`${first}\n${second}\n`);
});

test.each(["", "\n", "\n\n"])(
  "without a prompt, from %j nothing is written, which is no success",
  (input) => {
    const { status, stdout, stderr } = generate([folder], input);
    expect(stderr).toContain(
      "Expected --prompt, or a line on stdin to continue",
    );
    expect([stdout, status]).toEqual(["", 2]);
  },
);

const ASKS = "> ";
const CTRL_C = "\x03";
const CTRL_D = "\x04";

/** Each key is typed once the talk waits for it; the terminal's settings before and after, and who is left. */
test.runIf(process.platform === "linux").each([
  ["Ctrl-D at once", 20, [[ASKS, CTRL_D]]],
  ["Ctrl-C at once", 20, [[ASKS, CTRL_C]]],
  [
    "Ctrl-D after an answer",
    20,
    [
      [ASKS, "ab\r"],
      [/ab\r+\n[^]+\n> $/, CTRL_D],
    ],
  ],
  [
    "Ctrl-C amid an answer of hours, and again",
    1e9,
    [
      [ASKS, "ab\r"],
      [/ab\r+\n[^]{20}/, CTRL_C],
      [/ab\r+\n[^]+\n> $/, CTRL_C],
    ],
  ],
] as [string, number, [string | RegExp, string][]][])(
  "a talk in a terminal ends by %s (%d tokens): with 0, as the terminal was, and no process stays",
  async (_, tokens, typed) => {
    const mark = join(folder, "pid");
    const talk = `echo $$ > "$MARK"; exec "${process.execPath}" "${MAIN}" generate "${folder}" --max-tokens ${tokens} --temperature 0`;
    const script = join(folder, "talk.sh");
    writeFileSync(
      script,
      `stty -g; sh -c '${talk}'; echo "[ended $?]"; stty -g\n`,
    );
    const terminal = spawn(
      "/usr/bin/script",
      ["-qec", `sh ${script}`, "/dev/null"],
      {
        env: { ...process.env, MARK: mark, TERM: "xterm" },
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    let shown = "";
    const keys = [...typed];
    terminal.stdout.setEncoding("utf8").on("data", (part: string) => {
      shown += part;
      const [until, key] = keys[0] ?? [];
      // What moves the cursor and cleans a line is no text.
      const text = stripVTControlCharacters(shown);
      if (until === undefined || text.search(until) < 0) return;
      keys.shift();
      terminal.stdin.write(key!);
    });
    onTestFinished(() => {
      // One that did not end would write for hours.
      try {
        process.kill(Number(readFileSync(mark, "utf8")), "SIGKILL");
      } catch {
        // It is gone, as it should be.
      }
    });
    await once(terminal, "close");
    const text = stripVTControlCharacters(shown);
    expect(keys, text).toEqual([]);
    expect(text).toContain("[ended 0]");
    const settings = text.match(/^[0-9a-f]+(:[0-9a-f]+){10,}/gm);
    expect(settings).toHaveLength(2);
    expect(settings![1]).toBe(settings![0]);
    const pid = Number(readFileSync(mark, "utf8"));
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  },
  30_000,
);

test.each([
  [
    ["--top-p", "2"],
    2,
    "Expected --top-p to be a number above 0, of at most 1, got 2",
  ],
  [["--seed", "x"], 2, 'Expected --seed to be a number, got "x"'],
  [
    ["--max-tokens", "0"],
    2,
    "Expected --max-tokens to be a whole number from 1",
  ],
])("%j is refused", (args, code, expected) => {
  const { status, stderr } = generate([folder, "--prompt", "ab", ...args]);
  expect([status, stderr]).toEqual([code, expect.stringContaining(expected)]);
});

test("what is no model is refused by what it is", () => {
  const file = join(folder, "config.json");
  const { status, stderr } = generate([file, "--prompt", "ab"]);
  expect([status, stderr]).toEqual([
    1,
    expect.stringContaining(
      "Expected the checkpoint of a run, got a file of another kind",
    ),
  ]);
  // Nothing was written before the edge had refused it.
  const asked = generate(["any", "--prompt", "ab", "--url", "here"]);
  expect([asked.status, asked.stdout]).toEqual([2, ""]);
});
