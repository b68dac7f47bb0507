import { spawn, type ChildProcess } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { format } from "prettier";
import { parseArgs } from "citty";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ablationArgs } from "../../src/cli/ablation/arguments.ts";
import {
  estimate,
  pairedDifference,
} from "../../src/cli/ablation/statistics.ts";
import { trialOf, trialsOf } from "../../src/cli/ablation/setting.ts";
import { QUICK, SETTINGS } from "../../src/cli/ablation/settings.ts";
import { parseAblation } from "../../src/cli/ablation/options.ts";
import type { CurvePoint, Outcome } from "../../src/cli/ablation/outcome.ts";
import {
  ablationCharts,
  ablationPage,
  plainTable,
} from "../../src/cli/ablation/page.ts";
import { rawData, summarize } from "../../src/cli/ablation/summary.ts";
import { lineChart } from "../../src/cli/chart/line-chart.ts";

const ROOT = resolve(import.meta.dirname, "../..");

describe("statistics", () => {
  test("a mean and its standard error", () => {
    // Deviations −3, −1, 1, 3: variance 20 / 3, of the mean of four 5 / 3.
    const { mean, standardError, count } = estimate([1, 3, 5, 7]);
    expect([mean, count]).toEqual([4, 4]);
    expect(standardError).toBeCloseTo(Math.sqrt(5 / 3), 12);
    expect(estimate([2]).standardError).toBeNaN();
  });

  test("differences are taken seed by seed, of the seeds that have both", () => {
    const from = [1, 100, 7, null];
    const { mean, standardError, count } = pairedDifference(
      [1.5, 101.5, null, 3],
      from,
    );
    expect([mean, count]).toEqual([1, 2]);
    // Seeds differ by a hundred, their differences by one.
    expect(standardError).toBeCloseTo(0.5, 12);
  });
});

describe("settings", () => {
  const keys = (...args: Parameters<typeof trialsOf>) =>
    trialsOf(...args).map(({ key }) => key);

  test("those of the page are what it promises", () => {
    const named = Object.fromEntries(SETTINGS.map((each) => [each.name, each]));
    const recipesOf = (name: string) =>
      new Set(named[name]!.arms.map(({ change }) => change.recipe)).size;
    expect(recipesOf("muon")).toBeGreaterThanOrEqual(8);
    expect(recipesOf("adamw")).toBeGreaterThanOrEqual(4);
    for (const { arms, baseline, incumbent } of [...SETTINGS, QUICK]) {
      const names = arms.map(({ name }) => name);
      expect(names).toContain(baseline);
      expect(names).toContain(incumbent);
      expect(new Set(names).size).toBe(names.length);
    }
  });

  test("a run that two settings want is made once", () => {
    const [muon, , , wire] = SETTINGS;
    const both = keys([muon!, wire!], 2, "world");
    const apart = [...keys([muon!], 2, "world"), ...keys([wire!], 2, "world")];
    // bf16 and EDEN, both with MXFP4 on the wire, of two seeds.
    expect(both.length).toBe(apart.length - 4);
    expect(new Set(both).size).toBe(both.length);
  });

  test("arms of one seed differ in what they change, and in nothing else", () => {
    const requests = QUICK.arms.map(
      (arm) => trialOf(QUICK, arm, 3, "world").request,
    );
    for (const [i, { change }] of QUICK.arms.entries()) {
      expect(requests[i]).toEqual({ ...requests[0], ...change });
      expect(requests[i]!.seed).toBe(3);
    }
  });

  test("another text, machine, seed or size is another run", () => {
    const [arm] = QUICK.arms;
    const key = (seed: number, world: string, setting = QUICK) =>
      trialOf(setting, arm!, seed, world).key;
    const longer = { ...QUICK, base: { ...QUICK.base, steps: 9 } };
    const llama = { ...QUICK, base: { ...QUICK.base, arch: "llama" as const } };
    const others = [longer, llama].map((setting) => key(0, "a", setting));
    const all = [key(0, "a"), key(1, "a"), key(0, "b"), ...others];
    expect(new Set(all).size).toBe(5);
    expect(key(0, "a")).toBe(all[0]);
  });
});

test("the command that a page tells is what was compared, wherever its files are", () => {
  const typed = [
    "--out",
    "my pages",
    "--recipes=bf16",
    "--jobs",
    "3",
    "--seeds",
    "2",
    "--state=a b",
    "--json",
  ];
  const args = parseArgs<typeof ablationArgs>(typed, ablationArgs);
  const { command } = parseAblation(args, typed);
  expect(command).toBe("npm run ablation -- --recipes=bf16 --seeds 2");
});

describe("docs/ablation.md", () => {
  type Run = { seed: number; curve: [number, number | null, number | null][] };
  type Raw = {
    settings: {
      name: string;
      arms: { name: string; runs: (Run & Outcome)[] }[];
    }[];
  };
  const committed = (name: string) =>
    readFileSync(join(ROOT, "docs", name), "utf8");
  const json = committed("ablation.json");
  const { settings, ...machines } = JSON.parse(json) as Raw;
  const outcomes = new Map(
    settings.flatMap(({ name, arms }, i) =>
      arms.flatMap(({ runs }, j) =>
        runs.map(({ seed, curve, ...run }) => {
          const setting = SETTINGS[i]!;
          expect(setting.name).toBe(name);
          const { key } = trialOf(setting, setting.arms[j]!, seed, "");
          const points = curve.map(
            ([step, trainLoss, valLoss]): CurvePoint => ({
              step,
              trainLoss,
              valLoss,
            }),
          );
          return [key, { ...run, curve: points }] as const;
        }),
      ),
    ),
  );
  const seeds = settings[0]!.arms[0]!.runs.length;
  const summaries = SETTINGS.map((setting) =>
    summarize(setting, seeds, "", (key) => outcomes.get(key)),
  );

  test("is what its raw data say, of the settings as they stand", async () => {
    const data = rawData(SETTINGS, seeds, "", (key) => outcomes.get(key));
    expect(`${JSON.stringify({ ...machines, settings: data })}\n`).toBe(json);
    const page = committed("ablation.md");
    const [, command] = /`(npm run ablation[^`]*)`/.exec(page)!;
    const [made] = /It has \d+ of \d+ runs, .*/.exec(page)!;
    const text = ablationPage({ summaries, made, command: command! });
    expect(await format(text, { parser: "markdown" })).toBe(page);
  });

  test("has charts of the same data, which the page has with more digits", () => {
    const number = /-?\d+(\.\d+)?/g;
    for (const summary of summaries) {
      for (const [kind, chart] of Object.entries(ablationCharts(summary))) {
        const file = `ablation/${summary.setting.name}-${kind}.svg`;
        const there = committed(file);
        expect(chart.replace(number, "#"), file).toBe(
          there.replace(number, "#"),
        );
        const drawn = chart.match(number)!.map(Number);
        for (const [i, place] of there.match(number)!.entries())
          expect(Math.abs(Number(place) - drawn[i]!), file).toBeLessThan(0.15);
      }
    }
  });
});

describe("runs that diverged, or are not made", () => {
  const ended = (valLoss: number | null) => ({
    valLoss,
    seconds: 1,
    curve: [5, valLoss && valLoss + 1, valLoss].map((loss, i) => ({
      step: 10 * i,
      trainLoss: null,
      valLoss: loss,
    })),
  });
  /** Of arms in order, for two seeds: a loss, null of one that diverged, undefined of one that is not made. */
  const summaryOf = (...losses: (number | null | undefined)[]) => {
    const outcomes = new Map(
      QUICK.arms.flatMap((arm, i) =>
        [0, 1].flatMap((seed) => {
          const loss = losses[i];
          const { key } = trialOf(QUICK, arm, seed, "");
          return loss === undefined ? [] : [[key, ended(loss)] as const];
        }),
      ),
    );
    return summarize(QUICK, 2, "", (key) => outcomes.get(key) as Outcome);
  };

  test.each([
    [[3, null, 2, 1], "mxfp4-rht-sr mxfp4-sr bf16 mxfp4"],
    [[null, 3, null, 1], "mxfp4-rht-sr mxfp4 bf16 mxfp4-sr"],
    [[null, null, null, null], "bf16 mxfp4 mxfp4-sr mxfp4-rht-sr"],
    [[undefined, 3, undefined, 1], "mxfp4-rht-sr mxfp4"],
    [[2, undefined, undefined, undefined], "bf16"],
  ])("%j: no number is made up, in tables and charts", (losses, order) => {
    const summary = summaryOf(...losses);
    expect(summary.rows.map(({ name }) => name).join(" ")).toBe(order);
    const charts = Object.values(ablationCharts(summary));
    const page = ablationPage({ summaries: [summary], made: "", command: "" });
    for (const text of [page, plainTable(summary), ...charts])
      expect(text).not.toMatch(/NaN|Infinity|undefined/);
    const noted = losses.filter((loss) => loss === null).length;
    for (const text of [page, plainTable(summary)])
      expect(text.split(", 2 diverged")).toHaveLength(noted + 1);
    const drawn = losses.filter((loss) => typeof loss === "number").length;
    // Of the baseline there are no gaps.
    expect(charts[0]!.split("<path")).toHaveLength(drawn + 1);
  });
});

describe("charts", () => {
  const lines = [
    { name: "a & <b>", points: [[0, 1] as const, [10, 2] as const] },
    {
      name: "c",
      points: [[0, 1.01] as const, [10, 2] as const],
      spread: [0.1, 0.2],
    },
  ];
  const chart = lineChart({ title: "t", x: "steps", y: "loss", lines });

  test("names and axes are there, once, and nothing is not a number", () => {
    for (const text of ["a &amp; &lt;b&gt;", "steps", "loss"]) {
      expect(chart.split(`>${text}</text>`)).toHaveLength(2);
    }
    expect(chart).not.toMatch(/NaN|Infinity|undefined/);
    expect(chart.match(/<polygon/g)).toHaveLength(1);
  });

  test("two lines that end at one height have names apart", () => {
    const heights = [...chart.matchAll(/y="([\d.]+)" class="name/g)].map(
      ([, y]) => Number(y),
    );
    expect(heights).toHaveLength(2);
    expect(Math.abs(heights[0]! - heights[1]!)).toBeGreaterThanOrEqual(14);
  });

  test("what has no place is left out, a line of nothing else with its name", () => {
    const gaps = lineChart({
      title: "t",
      x: "steps",
      y: "loss",
      logY: true,
      lines: [
        {
          name: "some",
          points: [
            [0, 1],
            [1, NaN],
            [2, 0],
            [3, 2],
          ],
          spread: [0.5, NaN, 1, 0],
        },
        {
          name: "none",
          points: [
            [0, NaN],
            [1, -1],
          ],
        },
      ],
    });
    expect(gaps).not.toMatch(/NaN|Infinity|undefined|none</);
    expect(/d="(M[^"]*)"/.exec(gaps)![1]!.split("L")).toHaveLength(2);
  });

  test("a point stands where its axes say", () => {
    const path = /d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"/.exec(chart)!;
    const [x0, , x1] = path.slice(1).map(Number);
    const tick = (label: string) =>
      Number(new RegExp(`x="([\\d.]+)"[^>]*>${label}</text>`).exec(chart)![1]);
    expect(x0).toBe(tick("0"));
    expect(x1).toBe(tick("10"));
  });
});

describe("npm run ablation", () => {
  let state: string;
  const started: ChildProcess[] = [];

  beforeAll(() => {
    state = mkdtempSync(join(tmpdir(), "ablation-"));
  });

  afterAll(async () => {
    for (const child of started) child.kill("SIGKILL");
    // Guards end the runtimes of a process that is gone.
    await sleep(500);
    rmSync(state, { recursive: true, force: true, maxRetries: 5 });
  });

  function ablation(...more: string[]) {
    const script = join(ROOT, "src/scripts/ablation.ts");
    const args = ["--state", state, "--jobs", "1", ...more];
    const child = spawn("node", [script, ...args], { cwd: ROOT });
    started.push(child);
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const ended = new Promise<number | null>((resolve_) =>
      child.on("exit", resolve_),
    );
    return { child, ended, output: () => output };
  }

  const OWN =
    "--recipes bf16,mxfp4 --preset nano --steps 2 --batch 2 --microbatches 1 --seeds 1 --text-bytes 4096".split(
      " ",
    );
  const kept = () => join(state, "runs/ablation");

  test("goes on after a kill with the runs that are missing, and writes all", async () => {
    const first = ablation(...OWN);
    while (!existsSync(kept()) || readdirSync(kept()).length === 0) {
      if (first.child.exitCode !== null) expect.fail(first.output());
      await sleep(20);
    }
    first.child.kill("SIGKILL");
    await first.ended;
    const [file] = readdirSync(kept()).filter((name) => name.endsWith(".json"));
    const { mtimeMs } = statSync(join(kept(), file!));

    const second = ablation(...OWN);
    expect(await second.ended, second.output()).toBe(0);
    expect(second.output()).toMatch(/[12] of 2 runs are kept/);
    expect(statSync(join(kept(), file!)).mtimeMs).toBe(mtimeMs);

    const out = join(state, "ablation");
    const page = readFileSync(join(out, "ablation.md"), "utf8");
    const data = JSON.parse(
      readFileSync(join(out, "ablation.json"), "utf8"),
    ) as {
      settings: {
        arms: { name: string; runs: { valLoss: number; curve: unknown[] }[] }[];
      }[];
    };
    const [{ arms }] = data.settings as [(typeof data.settings)[0]];
    const losses = arms.map(({ runs }) => runs[0]!.valLoss);
    for (const [i, name] of ["bf16", "mxfp4"].entries()) {
      expect(arms[i]!.name).toBe(name);
      expect(arms[i]!.runs[0]!.curve.length).toBeGreaterThan(1);
      expect(page).toContain(`| ${losses[i]!.toFixed(4)} ±`);
    }
    const gap = Math.abs(losses[1]! - losses[0]!);
    expect(gap).toBeGreaterThan(0);
    expect(page).toContain(`${gap.toFixed(4)} ±`);
    expect(readdirSync(join(out, "ablation")).toSorted()).toEqual([
      "own-muon-gap.svg",
      "own-muon-loss.svg",
    ]);
  });

  test("a kept run that is no JSON, as a machine that lost its power may leave one, is told by its file", async () => {
    const [name] = readdirSync(kept()).filter((each) => each.endsWith(".json"));
    const file = join(kept(), name!);
    const whole = readFileSync(file);
    writeFileSync(file, whole.subarray(0, 100));
    const { ended, output } = ablation(...OWN);
    expect(await ended).toBe(1);
    expect(output()).toContain(`Expected a finished run in ${file}, got other`);
    writeFileSync(file, whole);
  });

  test("with other options it makes runs of their own, and is not mixed with what is kept, which the first ones still find", async () => {
    const files = () =>
      readdirSync(kept()).filter((name) => name.endsWith(".json"));
    const times = (names: string[]) =>
      names.map((name) => statSync(join(kept(), name)).mtimeMs);
    type Run = { valLoss: number; curve: [step: number][] };
    const page = () => {
      const json = readFileSync(join(state, "ablation/ablation.json"), "utf8");
      const { settings } = JSON.parse(json) as {
        settings: { arms: { runs: Run[] }[] }[];
      };
      return settings.flatMap(({ arms }) => arms.flatMap(({ runs }) => runs));
    };
    const before = files();
    expect(before).toHaveLength(2);
    const [mtimes, runs] = [times(before), page()];
    for (const [option, value, steps] of [
      ["--steps", "3", 3],
      ["--text-bytes", "8192", 2],
    ] as const) {
      const known = files().length;
      const other = ablation(...OWN.with(OWN.indexOf(option) + 1, value));
      expect(await other.ended, other.output()).toBe(0);
      expect(other.output()).not.toMatch(/[12] of 2 runs are kept/);
      expect(files()).toHaveLength(known + 2);
      expect(times(before)).toEqual(mtimes);
      const made = page();
      expect(made).toHaveLength(2);
      for (const [i, { valLoss, curve }] of made.entries()) {
        expect(curve.at(-1)![0]).toBe(steps);
        expect(valLoss).not.toBe(runs[i]!.valLoss);
      }
    }
    const again = ablation(...OWN);
    expect(await again.ended, again.output()).toBe(0);
    expect(again.output()).toContain("2 of 2 runs are kept");
    expect(page()).toEqual(runs);
  });

  test.each([
    ["taken", "taken"],
    ["taken/deeper", "taken"],
    ["holds", "holds/ablation"],
    ["points", "points/ablation"],
  ])(
    "--out %s, where a file or nothing that takes one is in the way, is refused before a run is made",
    async (name, inTheWay) => {
      const at = (path: string) => join(state, "out", path);
      rmSync(at(""), { recursive: true, force: true });
      for (const folder of ["holds", "points"])
        mkdirSync(at(folder), { recursive: true });
      for (const file of ["taken", "holds/ablation"])
        writeFileSync(at(file), "");
      symlinkSync("/proc/self", at("points/ablation"));
      const other = ["--state", at("state")];
      const { ended, output } = ablation(...OWN, ...other, "--out", at(name));
      expect(await ended).toBe(1);
      expect(output()).toMatch(
        /Expected a (folder, or none yet|writable folder), got /,
      );
      expect(output()).toContain(at(inTheWay));
      expect(existsSync(at("state"))).toBe(false);
    },
  );

  test.each([
    [["--quick", "--steps", "3"], "got --quick and --steps"],
    [["--settings", "muon,none"], 'got "none"'],
    [["--recipes", "bf16,mxfp5"], 'got "mxfp5"'],
    [["--recipes", "bf16,mxfp4,bf16"], 'got "bf16" twice'],
    [["--optimizers", "muon,muon"], 'got "muon" twice'],
    [["--settings", "muon,wire,muon"], 'got "muon" twice'],
    [["--batch", "7"], "multiple of --microbatches 4, got 7"],
    [["--jobs", "0"], "whole number from 1"],
    [["--arch", "mamba"], "gpt2"],
    [["--quick", "--arch", "llama"], "got --quick and --arch"],
  ])("%j is refused, and nothing is made", async (args, message) => {
    const untouched = join(state, "untouched");
    const { ended, output } = ablation(...args, "--state", untouched);
    expect(await ended).toBe(2);
    expect(output()).toContain(message);
    expect(existsSync(untouched)).toBe(false);
  });
});
