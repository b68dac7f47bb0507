/** The benchmarks that are asked for, one group after another. */
import { writeFileSync } from "node:fs";
import type { Kernels } from "../src/kernels/runtime.ts";
import { ensureBuilt } from "../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../src/scripts/build/targets.ts";
import type { Benchmark, Group, Timed } from "./benchmark.ts";
import { DIRECTORY_BENCHMARKS, directoryGroup } from "./directory.ts";
import { GENERATE_GROUPS } from "./generate.ts";
import { HTTP_GROUPS, timeRequests } from "./http.ts";
import { KERNEL_GROUPS } from "./kernel-benchmarks.ts";
import { describeMachine } from "./machine.ts";
import { BENCH_MARKS, updatePage } from "./markdown-page.ts";
import { measure, type TimedGroup } from "./measure.ts";
import { loadNodeKernels, timeInNode } from "./node-runtime.ts";
import type { Asked } from "./options.ts";
import { keepReport, readReport, withKept } from "./paths.ts";
import { PEER_GROUPS } from "./peers/peer-benchmarks.ts";
import { profileStep } from "./profile.ts";
import { Progress } from "./progress.ts";
import type { Report, Result } from "./result.ts";
import { select } from "./select.ts";
import { STEP_MODELS, stepBenchmarks } from "./step.ts";
import { startTraining, TRAINING_GROUP } from "./training.ts";
import { renderMarkdown, renderText } from "./table.ts";
import { startWorker, startWorkerd } from "./workerd-runtime.ts";

/** Measures what is asked for, shows it, and writes it where it is wanted. */
export async function bench(asked: Asked): Promise<void> {
  if (asked.from) return write(readReport(asked.from), asked);
  checkNames(asked);
  await ensureBuilt(BUILD_TARGETS.kernels, BUILD_TARGETS["kernels-decode"]);
  const report = await run(asked);
  await withKept(() => write(report, asked));
}

async function write(report: Report, { json, markdown }: Asked): Promise<void> {
  console.log(renderText(report));
  if (json) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`);
  if (markdown)
    await updatePage(markdown, [[BENCH_MARKS, renderMarkdown(report)]]);
}

/** Throws where nothing would be measured. */
function checkNames({ only, runtimes, peers }: Asked): void {
  const groups = [
    ...KERNEL_GROUPS,
    ...(runtimes.includes("workerd") ? [...HTTP_GROUPS, TRAINING_GROUP] : []),
    ...(runtimes.includes("node") && peers ? PEER_GROUPS : []),
    ...(runtimes.includes("node") ? GENERATE_GROUPS : []),
    ...(runtimes.includes("node")
      ? [{ benchmarks: DIRECTORY_BENCHMARKS }]
      : []),
  ];
  const isThere = groups.some(
    ({ benchmarks }) => select<Benchmark>(benchmarks, only).length > 0,
  );
  if (!isThere) {
    throw new Error(
      `Expected --only to be in the name of a benchmark, got "${only}"`,
    );
  }
}

async function run(asked: Asked): Promise<Report> {
  const kernels = loadNodeKernels();
  const machine = describeMachine(kernels, asked.variant);
  const results: Result[] = [];
  const progress = new Progress();
  for (const runtime of asked.runtimes) {
    for await (const group of GROUPS_OF[runtime](asked, kernels)) {
      const { mostRounds = Infinity, beside } = group;
      const rounds = Math.min(asked.rounds, mostRounds);
      progress.start(runtime, group, rounds);
      const measured = await measure(group, runtime, rounds, (round) =>
        progress.round(round),
      );
      for (const result of measured) progress.result(result);
      results.push(...measured);
      if (beside) results.push(beside());
      keepReport({ machine, results });
    }
  }
  if (!asked.profile) return { machine, results };
  const profiles = STEP_MODELS.flatMap(stepBenchmarks)
    .filter(({ name }) => results.some((result) => result.name === name))
    .map((step) => profileStep(kernels, step, machine, asked.rounds));
  return { machine, results, profiles };
}

/** The groups that are asked for, by runtime. */
const GROUPS_OF = {
  async *node(asked: Asked, kernels: Kernels): AsyncGenerator<TimedGroup> {
    yield* inNode(asked, kernels);
    yield* onDirectory(asked);
  },
  async *workerd(asked: Asked): AsyncGenerator<TimedGroup> {
    yield* inWorkerd(asked);
    yield* overHttp(asked);
    yield* training(asked);
  },
};

/** The groups that are asked for, with their clocks, the peers' included. */
async function* inNode(
  asked: Asked,
  kernels: Kernels,
): AsyncGenerator<TimedGroup> {
  for (const { name, benchmarks } of [...KERNEL_GROUPS, ...GENERATE_GROUPS]) {
    const peers = asked.peers
      ? (PEER_GROUPS.find((group) => group.name === name)?.benchmarks ?? [])
      : [];
    const chosen = select([...benchmarks, ...peers], asked.only);
    const timed: Timed[] = [];
    for (const benchmark of chosen) {
      if ("setup" in benchmark) timed.push(timeInNode(kernels, benchmark));
      else {
        const time = await benchmark.prepare();
        if (time) timed.push({ ...benchmark, time });
        else console.error(`left out, not on this machine: ${benchmark.name}`);
      }
    }
    if (timed.length > 0) yield { name, benchmarks: timed };
  }
}

/** All of it or nothing, and only by its name. */
function* onDirectory({ only }: Asked): Generator<TimedGroup> {
  if (only === "" || select(DIRECTORY_BENCHMARKS, only).length === 0) return;
  yield* directoryGroup();
}

/** Of groups that are whole benchmarks each, those that are asked for. */
function chosen<B extends Benchmark>(
  groups: readonly Group<B>[],
  { only }: Asked,
): Group<B>[] {
  return groups
    .map(({ name, benchmarks }) => ({
      name,
      benchmarks: select(benchmarks, only),
    }))
    .filter(({ benchmarks }) => benchmarks.length > 0);
}

async function* inWorkerd(asked: Asked): AsyncGenerator<TimedGroup> {
  const groups = chosen(KERNEL_GROUPS, asked);
  if (groups.length === 0) return;
  const workerd = await startWorkerd(asked.variant);
  try {
    for (const { name, benchmarks } of groups) {
      yield { name, benchmarks: benchmarks.map(workerd.timed) };
    }
  } finally {
    await workerd.close();
  }
}

/** Whole steps: the edge in workerd, trainers beside it. */
async function* training({ only }: Asked): AsyncGenerator<TimedGroup> {
  const { name, benchmarks } = TRAINING_GROUP;
  const chosen = select(benchmarks, only);
  if (chosen.length === 0) return;
  const { timed, close } = await startTraining(chosen);
  try {
    yield { name, benchmarks: timed };
  } finally {
    await close();
  }
}

/** The product's routes, timed by requests. */
async function* overHttp(asked: Asked): AsyncGenerator<TimedGroup> {
  const groups = chosen(HTTP_GROUPS, asked);
  if (groups.length === 0) return;
  const { origin, close } = await startWorker("http.wrangler.toml", {});
  try {
    for (const { name, benchmarks } of groups) {
      const timed = benchmarks.map((benchmark) => ({
        ...benchmark,
        time: (n: number) => timeRequests(origin, benchmark, n),
      }));
      yield { name, benchmarks: timed };
    }
  } finally {
    await close();
  }
}
