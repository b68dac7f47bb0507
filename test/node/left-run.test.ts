/** Which run a command goes on with: the rule, without an edge. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseArgs } from "citty";
import type { StepMetrics } from "../../src/api/run-metrics.ts";
import { toldArgs, trainArgs } from "../../src/cli/train/arguments.ts";
import { noteBeside } from "../../src/cli/train/kept-runs.ts";
import { lastRunNote } from "../../src/cli/train/last-run.ts";
import { leftRun } from "../../src/cli/train/left-run.ts";
import { MetricsFile } from "../../src/cli/train/metrics-file.ts";
import { parseTrainOptions } from "../../src/cli/train/options.ts";
import {
  claimNote,
  madeBy,
  readNote,
  writeNote,
} from "../../src/cli/train/unfinished.ts";
import { ownMark } from "../../src/local/processes.ts";

const SMALL = "--layers 1 --width 64 --heads 2 --context 32 --batch 8";
const URL = "http://127.0.0.1:9";
const GONE = "1 of-another-boot";

let home: string;

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "mxfp4-left-run-"));
  writeFileSync(join(home, "text.txt"), "A text. ".repeat(500));
});

afterAll(() => rmSync(home, { recursive: true, force: true }));

function optionsOf(line: string): ReturnType<typeof parseTrainOptions> {
  const text = join(home, "text.txt");
  const raw = ["--text", text, ...SMALL.split(" "), ...line.split(" ")].filter(
    Boolean,
  );
  const args = parseArgs<typeof trainArgs>(raw, trainArgs);
  return parseTrainOptions(args, toldArgs(args, raw), home, undefined);
}

function folderOf(name: string): { checkpoint: string; metrics: string } {
  const folder = join(home, "runs", name);
  return {
    checkpoint: join(folder, "checkpoint.safetensors"),
    metrics: join(folder, "metrics.jsonl"),
  };
}

/** What `typed` has left when it is killed: elsewhere or, without --url, here. Returns the id of its run. */
function leave(typed: string, name: string, process: string): string {
  const options = optionsOf(typed);
  const kept = folderOf(name);
  mkdirSync(join(home, "runs", name), { recursive: true });
  writeFileSync(kept.metrics, "");
  const note = { run: `run-of-${name}`, made: madeBy(options), kept };
  mkdirSync(options.stateFolder, { recursive: true });
  if (options.remote) writeNote(noteBeside(kept), { ...note, process });
  else writeNote(lastRunNote(options.stateFolder), note);
  return note.run;
}

function clear(): void {
  for (const name of ["runs", "train"])
    rmSync(join(home, name), { recursive: true, force: true });
}

const NAMED = "--steps 4 --name mine";

test("the run's request has the name that was typed, and none where none was", () => {
  expect(optionsOf(NAMED).request.name).toBe("mine");
  expect(optionsOf("--steps 4").request.name).toBeUndefined();
});

test.each([
  ["here", ""],
  ["elsewhere", ` --url ${URL}`],
])("%s: the same goes on, another does not", (_where, url) => {
  const left = (line: string) => leftRun(optionsOf(line + url), false)?.run;

  const own = leave(NAMED + url, "mine", GONE);
  // Who trains it, and where its parameters lie, are no other run.
  for (const same of ["", " --force", " --trainers 3", " --shards 5"])
    expect(left(NAMED + same)).toBe(own);
  // Without a name, it is whichever was made so.
  expect(left("--steps 4")).toBe(own);
  expect(left("--steps 4 --name other")).toBeUndefined();
  expect(left("--steps 5")).toBeUndefined();
  expect(left(`${NAMED} --seed 3 --force`)).toBeUndefined();
  expect(() =>
    left("--steps 5 --name mine --seed 3 --weight-decay 0.5"),
  ).toThrow(
    "Expected --name mine to be new, or the options of its interrupted run, to continue that: seed 0, got 3; steps 4, got 5; optimizer.weightDecay not given, got 0.5; --force starts another run",
  );
  clear();

  // One that came to its end has its files, and no note.
  leave(NAMED + url, "mine", GONE);
  const note = url
    ? noteBeside(folderOf("mine"))
    : lastRunNote(join(home, "train"));
  rmSync(note);
  expect(() => left(NAMED)).toThrow(
    `Expected --name mine to be new, but ${folderOf("mine").metrics} exists; --force overwrites it`,
  );
  expect(left("--steps 4")).toBeUndefined();
  clear();
});

test("one that another process follows is that process's", () => {
  leave(`${NAMED} --url ${URL}`, "mine", ownMark());
  const left = (line: string) => leftRun(optionsOf(line), false);
  expect(left(`--steps 4 --url ${URL}`)).toBeUndefined();
  for (const force of ["", " --force"])
    expect(() => left(`${NAMED} --url ${URL}${force}`)).toThrow(
      `Expected --name mine to be free, but process ${process.pid} is training it`,
    );
  clear();
});

test("a place that two have found free at once is the first one's, until it is gone", () => {
  const file = join(home, "unfinished.json");
  const note = { run: "r", made: "{}", kept: folderOf("mine") };
  const [first, second] = [ownMark(), "2 of-another-boot"];
  const claim = (run: string, process: string) =>
    claimNote(file, { ...note, run, process }, "--name mine");
  claim("r", first);
  claim("r", first);
  expect(() => claim("s", second)).toThrow(
    `Expected --name mine to be free, but process ${process.pid} is training it`,
  );
  expect(readNote(file)?.run).toBe("r");
  writeNote(file, { ...note, process: GONE });
  claim("s", second);
  expect(readNote(file)?.run).toBe("s");
  rmSync(file);
});

test("an edge's is not another's, nor this machine's", () => {
  leave(`--steps 4 --url ${URL}`, "64", GONE);
  const left = (line: string) => leftRun(optionsOf(line), false)?.run;
  expect(left(`--steps 4 --url ${URL}/`)).toBe("run-of-64");
  expect(left("--steps 4 --url http://127.0.0.1:10")).toBeUndefined();
  expect(left("--steps 4")).toBeUndefined();
  clear();
});

test("a run that was killed before its first step leaves no metrics in the way of the next", () => {
  const file = join(home, "metrics.jsonl");
  const step = (number: number) => ({
    id: number,
    timeMs: 0,
    type: "step" as const,
    metrics: { step: number } as StepMetrics,
  });
  const rewind = {
    id: 9,
    timeMs: 0,
    type: "rewind" as const,
    step: 0,
    asked: 0,
  };
  const first = new MetricsFile(file, false);
  first.event(rewind);
  expect(existsSync(file)).toBe(false);
  first.event(step(0));
  first.event(step(1));
  expect(readFileSync(file, "utf8")).toBe('{"step":0}\n{"step":1}\n');
  expect(() => new MetricsFile(file, false).event(step(0))).toThrow("EEXIST");
  new MetricsFile(file, true).event(step(7));
  expect(readFileSync(file, "utf8")).toBe('{"step":7}\n');
});
