import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { cpuSeconds } from "../../bench/cpu-time.ts";
import { edgePids } from "../../bench/edge-processes.ts";
import { KERNEL_GROUPS } from "../../bench/kernel-benchmarks.ts";
import type { Machine } from "../../bench/machine.ts";
import { BENCH_MARKS, updatePage } from "../../bench/markdown-page.ts";
import { PEER_GROUPS } from "../../bench/peers/peer-benchmarks.ts";
import type { Report, Result } from "../../bench/result.ts";
import { select } from "../../bench/select.ts";
import { summarize } from "../../bench/summarize.ts";

const MAIN = resolve(import.meta.dirname, "../../bench/main.ts");
const { begin: BEGIN, end: END } = BENCH_MARKS;
const NAMES = [...KERNEL_GROUPS, ...PEER_GROUPS].flatMap(({ benchmarks }) =>
  benchmarks.map(({ name }) => name),
);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "mxfp4-edge-bench-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** `npm run bench`. Words of `options` are arguments. */
function bench(options: string, ...files: string[]) {
  return promisify(execFile)(process.execPath, [
    MAIN,
    ...options.split(" "),
    ...files,
  ]);
}

describe("npm run bench", () => {
  test("writes machine and results of both runtimes, with ratios to what ran beside", async () => {
    const file = join(folder, "bench.json");

    const { stdout } = await bench(
      "--only quantize/rht-sr --rounds 2 --json",
      file,
    );

    const report = JSON.parse(await readFile(file, "utf8"));
    expect(report.machine).toEqual({
      cpu: expect.any(String),
      cores: expect.any(Number),
      clockGHz: expect.any(Number),
      node: process.versions.node,
      v8: process.versions.v8,
      workerd: expect.stringMatching(/^1\.\d{8}\.\d+$/),
      vnni: expect.any(Boolean),
      fma: expect.any(Boolean),
      pairs: expect.any(Boolean),
      variant: report.machine.vnni ? "vnni" : "i16",
    });
    const common = {
      value: expect.any(Number),
      unit: "GB/s",
      samples: [expect.any(Number), expect.any(Number)],
    };
    const baseline = { baseline: "memory.copy", ratio: expect.any(Number) };
    expect(report.results).toEqual(
      ["node", "workerd"].flatMap((runtime) => [
        { ...common, name: "memory.copy", runtime },
        { ...common, ...baseline, name: "quantize/rht-sr", runtime },
      ]),
    );
    for (const { value } of report.results) expect(value).toBeGreaterThan(0);
    expect(stdout).toContain("memory.copy");
  });

  test("multiplies in the variant that --variant forces", async () => {
    const file = join(folder, "bench.json");

    await bench(
      "--only gemm/mxfp4/256x256 --rounds 1 --no-peers --runtime node --variant i16 --json",
      file,
    );

    const { machine, results } = JSON.parse(await readFile(file, "utf8"));
    expect(machine.variant).toBe("i16");
    expect(results.map(({ name }: { name: string }) => name)).toEqual([
      "gemm/f32/256x256",
      "gemm/mxfp4/256x256",
    ]);
  });

  test("takes a step apart with --profile", async () => {
    const file = join(folder, "bench.json");

    const { stdout } = await bench(
      "--only step/f32/L4-d128 --profile --rounds 1 --no-peers --runtime node --json",
      file,
    );

    const { profiles } = JSON.parse(await readFile(file, "utf8")) as Report;
    const [{ name, milliseconds, parts }] = profiles!;
    expect(name).toBe("step/f32/L4-d128");
    const sum = parts.reduce((total, part) => total + part.milliseconds, 0);
    expect(sum).toBeCloseTo(milliseconds, 6);
    const of = (kernel: string) => parts.filter(({ part }) => part === kernel);
    // For each of the four blocks y = x · W, with W [128, 512] and 1,024 rows of x, 128 at a time.
    expect(
      of("gemmF32 128x512x128").map(({ phase, calls }) => [phase, calls]),
    ).toEqual(
      expect.arrayContaining([
        ["forward", 32],
        ["backward", 32],
      ]),
    );
    expect(of("attentionBackwardF32")).toEqual([
      expect.objectContaining({ ofBound: expect.any(Number) }),
    ]);
    expect(stdout).toContain("attentionBackwardF32");
  });

  test("refuses what it does not know", async () => {
    await expect(bench("--only nothing")).rejects.toThrow(
      'Expected --only to be in the name of a benchmark, got "nothing"',
    );
    await expect(bench("--rounds 0")).rejects.toThrow(
      'Expected --rounds to be a whole number from 1, got "0"',
    );
    await expect(bench("--onyl x")).rejects.toThrow("onyl");
  });
});

describe("the suite", () => {
  test("has every benchmark of every shape, once", () => {
    const shapes = ["256x256", "256x1024", "384x1536", "512x2048"];
    const ofShapes = [
      ...["f32", "bf16", "mxfp4", "mxfp4-rht", "mxfp4-sr", "mxfp4-rht-sr"].map(
        (recipe) => `backward/${recipe}`,
      ),
      "forward/bf16",
      "forward/int6",
      "gemm/f32",
      "gemm/mxfp4",
      "matmul/f32",
      "peer/onnxruntime-web/gemm-f32",
      "peer/onnxruntime-web/matmulnbits",
      "peer/tfjs-wasm/gemm-f32",
    ].flatMap((name) => shapes.map((shape) => `${name}/${shape}`));
    const ofBytes = ["memory.copy", "dequantize"].concat(
      ["nearest", "mse", "sr", "rht-sr"].map((name) => `quantize/${name}`),
      ["mxfp8-e4m3", "mxfp8-e5m2"].flatMap((format) => [
        `quantize/${format}`,
        `quantize/${format}-sr`,
        `dequantize/${format}`,
      ]),
      ["f32", "rht-sr"].flatMap((name) => [
        `pack/${name}/rows`,
        `pack/${name}/columns`,
      ]),
    );

    const ofModels = [
      ...["f32", "mxfp4-rht-sr", "mxfp4-rht-eden", "int6-mxfp4-rht-sr"].map(
        (recipe) => `step/${recipe}`,
      ),
      "peer/pytorch/step-f32",
    ].flatMap((name) => ["L4-d256", "L4-d128"].map((at) => `${name}/${at}`));
    const ofTexts = ["f32", "mxfp4"].flatMap((weights) =>
      ["0.8M", "10M", "124M"].map(
        (size) => `peer/llama.cpp/generate-${weights}/${size}`,
      ),
    );
    const ofMatrices = [
      "128x128",
      "128x512",
      "256x256",
      "256x1024",
      "384x1536",
    ].map((size) => `muon/${size}`);

    expect(NAMES.toSorted()).toEqual(
      [
        ...ofShapes,
        ...ofBytes,
        ...ofModels,
        ...ofTexts,
        ...ofMatrices,
      ].toSorted(),
    );
  });

  test("takes ratios to benchmarks that exist", () => {
    for (const { benchmarks } of KERNEL_GROUPS) {
      for (const { baselines } of benchmarks) {
        expect(NAMES).toEqual(expect.arrayContaining([...baselines]));
      }
    }
  });
});

test("a pattern is part of a name, or with * the whole, and brings its baselines", () => {
  const all = ["a/b", "a/bc", "base"].map((name) => ({
    name,
    unit: "GB/s" as const,
    work: 1,
    baselines: name === "a/bc" ? ["base"] : [],
  }));
  const names = (pattern: string) => select(all, pattern).map((b) => b.name);

  expect(names("/b")).toEqual(["a/b", "a/bc", "base"]);
  expect(names("*/b")).toEqual(["a/b"]);
  expect(names("a/*c")).toEqual(["a/bc", "base"]);
  expect(names("a.b")).toEqual([]);
});

describe("summarize", () => {
  const common = { unit: "GB/s", work: 1 } as const;
  const base = { ...common, name: "base", baselines: ["absent"] };
  const fast = { ...common, name: "fast", baselines: ["absent", "base", "x"] };
  const x = { ...common, name: "x", baselines: [] };
  const samples = new Map([
    ["base", [1, 2, 8, 4]],
    ["fast", [3, 4, 8, 16]],
    ["x", [3, 4, 8, 16]],
  ]);

  test("takes medians: of samples, and of the ratios of neighbours", () => {
    expect(summarize([base, fast, x], samples, "node")[1]).toEqual({
      name: "fast",
      runtime: "node",
      value: 6,
      unit: "GB/s",
      baseline: "base",
      ratio: 2.5, // of 3, 2, 1, 4
      ratios: { x: 1 },
      samples: [3, 4, 8, 16],
    });
  });

  test("has no ratio to what did not run", () => {
    const [result] = summarize([base], samples, "workerd");
    expect(result).not.toHaveProperty("baseline");
    expect(result).not.toHaveProperty("ratio");
  });
});

describe("--markdown", () => {
  const results: Result[] = [
    {
      name: "memory.copy",
      runtime: "node",
      value: 40,
      unit: "GB/s",
      samples: [40],
    },
    {
      name: "dequantize",
      runtime: "node",
      value: 20,
      unit: "GB/s",
      baseline: "memory.copy",
      ratio: 0.5,
      samples: [20],
    },
  ];
  const report = { machine: {} as Machine, results };

  test("replaces what stands between the marks of a page, again and again", async () => {
    const file = join(folder, "bench.json");
    const page = join(folder, "page.md");
    await writeFile(file, JSON.stringify(report));
    await writeFile(page, `before\n${BEGIN}\nold\n${END}\nafter\n`);

    await bench(`--from ${file} --markdown`, page);
    const once = await readFile(page, "utf8");
    await bench(`--from ${file} --markdown`, page);

    expect(once).toMatch(/^before\n[^]*\nafter\n$/);
    expect(once).not.toContain("old");
    expect(once).toMatch(
      /\| dequantize +\| GB\/s \| +20.0 \| +0.50 \| +\| +\| memory.copy \|/,
    );
    expect(await readFile(page, "utf8")).toBe(once);
  });

  test("refuses a page without marks", async () => {
    const page = join(folder, "page.md");
    await writeFile(page, "no marks");
    await expect(updatePage(page, [[BENCH_MARKS, ""]])).rejects.toThrow(
      `Expected the lines "${BEGIN}"`,
    );
  });

  test("what cannot be written at the end costs no results", async () => {
    const page = join(folder, "page.md");
    await writeFile(page, `${BEGIN}\n${END}\n`);
    const measuring = bench(
      "--only dequantize --rounds 1 --runtime node --no-peers --markdown",
      page,
    );
    // The page goes while it measures: it says what it measures before it does.
    measuring.child.stderr!.once("data", () => void rm(page));

    const { stderr } = (await measuring.catch((error) => error)) as {
      stderr: string;
    };
    expect(stderr).toContain("no such file");
    const [, kept] = /--from (\S+)`/.exec(stderr)!;
    await writeFile(page, `${BEGIN}\n${END}\n`);
    const { stdout } = await bench(`--from ${kept} --markdown`, page);
    expect(stdout).toContain("dequantize");
    expect(await readFile(page, "utf8")).toContain("dequantize");
  });
});

describe("before it measures, it refuses", () => {
  const cases: [options: string, file: string, message: string][] = [
    ["--markdown", "nowhere.md", "Expected --markdown to be a page, got"],
    ["--markdown", ".", "Expected --markdown to be a page, got"],
    ["--markdown", "plain.md", `Expected the lines "${BEGIN}"`],
    ["--from", "nowhere.json", "Expected --from to be a file, got"],
    ["--from", "plain.md", "Expected --from to be what --json wrote"],
    ["--from", "other.json", "Expected --from to be what --json wrote"],
    ["--json", "nowhere/x.json", "Expected --json to be a file that can be"],
    ["--json", ".", "Expected --json to be a file that can be written"],
  ];
  test.each(cases)("%s %s", async (option, file, message) => {
    await writeFile(join(folder, "plain.md"), "no marks");
    await writeFile(join(folder, "other.json"), '{"results": [{}]}');
    // Nothing of this name is measured, so this would be the message of a later check.
    const refused = bench(`--only nothing ${option}`, join(folder, file));
    await expect(refused).rejects.toThrow(message);
  });
});

test.runIf(process.platform === "linux")(
  "npm run cost counts the CPU time of a folder's runtimes, to some ticks of 10 ms",
  async () => {
    await mkdir(join(folder, "pids"));
    await writeFile(join(folder, "pids", `${process.pid}`), "");
    const own = () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    };
    const before = { told: cpuSeconds(edgePids(folder)), own: own() };
    while (own() - before.own < 0.3);
    const told = cpuSeconds(edgePids(folder)) - before.told;
    expect(Math.abs(told - (own() - before.own))).toBeLessThan(0.06);
  },
);
