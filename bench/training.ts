/**
 * `train/…`: whole steps of a run, the edge in one process and each trainer in another, on this machine's cores.
 *
 *   train/1-trainer, train/2-trainers  tokens a second from one commit to a later one
 *   train/step, train/overhead         ms of a step with one trainer, and those of them in which it does not compute
 *   train/edge-cpu, train/trainer-cpu  ms of CPU that a step takes in the edge's process, and in the trainer's
 *
 * So overhead ÷ step is the share that is not computing, and edge-cpu ÷ trainer-cpu what an edge has to do beside
 * a trainer. A step is four microbatches of 8 × 256 tokens, a run of `npm run train`'s recipe and optimizer.
 */
import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "../src/client/client.ts";
import type { RunClient } from "../src/client/run-client.ts";
import { startEdge } from "../src/local/edge.ts";
import { ensureBuilt } from "../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../src/scripts/build/targets.ts";
import { MODEL_PRESETS } from "../src/cli/train/presets.ts";
import type { Benchmark, Group, Timed } from "./benchmark.ts";
import type { Computed } from "./trainer-process.ts";

const MODEL = "L4-d256";
const MICROBATCHES = 4;
const SEQUENCES = 8;
const TOKENS = MICROBATCHES * SEQUENCES * MODEL_PRESETS.small.context;
/** Of /proc: USER_HZ, which Linux has had at 100 for as long as it has told. */
const TICK_MS = 10;
const TEXT = "It was the best of times, it was the worst of times. ";

type Figure = "tokens" | "step" | "overhead" | "edge-cpu" | "trainer-cpu";
export type TrainingBenchmark = Benchmark & {
  trainers: number;
  figure: Figure;
};

export const TRAINING_GROUP: Group<TrainingBenchmark> = {
  name: "train",
  benchmarks: [
    speed("train/1-trainer", 1, []),
    speed("train/2-trainers", 2, [`train/1-trainer/${MODEL}`]),
    milliseconds("step", []),
    milliseconds("overhead", ["step"]),
    milliseconds("trainer-cpu", []),
    milliseconds("edge-cpu", ["trainer-cpu"]),
  ],
};

/** Runs for the benchmarks, paused but for the one that is timed. */
export async function startTraining(
  benchmarks: readonly TrainingBenchmark[],
): Promise<{ timed: Timed[]; close: () => Promise<void> }> {
  await ensureBuilt(BUILD_TARGETS.worker);
  const stateFolder = mkdtempSync(join(tmpdir(), "mxfp4-bench-train-"));
  const edge = await startEdge({ stateFolder, quiet: true });
  const client = new Client({ baseUrl: edge.url });
  await client.putDataset("bench", new Blob([TEXT.repeat(4000)]));
  const sites: Site[] = [];
  const close = async () => {
    for (const site of sites) site.end();
    await edge.close();
    rmSync(stateFolder, { recursive: true, force: true });
  };
  try {
    const pids = readdirSync(join(stateFolder, "pids")).map(Number);
    const counts = new Set(benchmarks.map(({ trainers }) => trainers));
    const byCount = new Map<number, Site>();
    for (const count of counts) {
      const site = await Site.start(client, edge.url, count, pids);
      sites.push(site);
      byCount.set(count, site);
    }
    const timed = benchmarks.map((benchmark) => ({
      ...benchmark,
      time: async (steps: number) =>
        (await byCount.get(benchmark.trainers)!.time(steps))[benchmark.figure],
    }));
    return { timed, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A run and the processes that train it. */
class Site {
  readonly #run: RunClient;
  readonly #trainers: ChildProcess[];
  readonly #edgePids: readonly number[];
  readonly #computed = new Map<number, number>();

  private constructor(
    run: RunClient,
    trainers: ChildProcess[],
    edgePids: readonly number[],
  ) {
    this.#run = run;
    this.#trainers = trainers;
    this.#edgePids = edgePids;
    for (const trainer of trainers)
      trainer.on("message", ({ step, computeMs }: Computed) => {
        const so = this.#computed.get(step) ?? 0;
        this.#computed.set(step, so + computeMs);
      });
  }

  static async start(
    client: Client,
    url: string,
    count: number,
    edgePids: readonly number[],
  ): Promise<Site> {
    const { run: name } = await client.createRun({
      dataset: "bench",
      model: MODEL_PRESETS.small,
      steps: 1_000_000,
      microbatches: MICROBATCHES,
      sequences: SEQUENCES,
      evaluation: { interval: 1_000_000, microbatches: 1 },
    });
    const run = client.run(name);
    await run.setState("paused");
    const file = join(import.meta.dirname, "trainer-process.ts");
    const trainers = Array.from({ length: count }, (_, index) =>
      fork(file, [url, name, `trainer-${index}`]),
    );
    return new Site(run, trainers, edgePids);
  }

  /** Seconds of so many steps, by figure. */
  async time(steps: number): Promise<Record<Figure, number>> {
    await this.#run.setState("running");
    const first = await this.#after((await this.#run.status()).step);
    const [edgeBefore, trainersBefore] = this.#cpu();
    const last = await this.#after(first.step + steps - 1);
    const [edge, trainers] = this.#cpu();
    await this.#run.setState("paused");
    const whole = (last.committedMs - first.committedMs) / 1000;
    const taken = last.step - first.step;
    let computed = 0;
    for (let step = first.step + 1; step <= last.step; step++)
      computed += (this.#computed.get(step) ?? 0) / 1000;
    const each = (seconds: number) => (seconds * steps) / taken;
    return {
      tokens: each(whole),
      step: each(whole),
      overhead: each(whole - computed),
      "edge-cpu": each(edge - edgeBefore),
      "trainer-cpu": each(trainers - trainersBefore),
    };
  }

  end(): void {
    for (const trainer of this.#trainers) trainer.kill("SIGKILL");
  }

  /** The last commit, once there is one of a step behind `step`. */
  async #after(step: number) {
    for (;;) {
      const last = (await this.#run.metrics()).at(-1);
      if (last && last.step > step) return last;
      await sleep(10);
    }
  }

  #cpu(): [edge: number, trainers: number] {
    const trainers = this.#trainers.map(({ pid }) => pid!);
    return [cpuSeconds(this.#edgePids), cpuSeconds(trainers)];
  }
}

/** User and system time of processes and of those that they have started and waited for (proc(5)). */
function cpuSeconds(pids: readonly number[]): number {
  const ticks = pids.flatMap((pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // Behind the name, which may have spaces: state is field 3, utime 14 and stime 15.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [Number(fields[11]), Number(fields[12])];
  });
  return (ticks.reduce((sum, each) => sum + each, 0) * TICK_MS) / 1000;
}

function speed(
  name: string,
  trainers: number,
  baselines: string[],
): TrainingBenchmark {
  const full = `${name}/${MODEL}`;
  return {
    name: full,
    unit: "tokens/s",
    work: TOKENS,
    baselines,
    trainers,
    figure: "tokens",
  };
}

function milliseconds(
  figure: Exclude<Figure, "tokens">,
  baselines: string[],
): TrainingBenchmark {
  return {
    name: `train/${figure}/${MODEL}`,
    unit: "ms",
    work: 1,
    baselines: baselines.map((name) => `train/${name}/${MODEL}`),
    trainers: 1,
    figure,
  };
}
