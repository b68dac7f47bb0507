/** A run on an edge of this machine, and the processes that train it; paused but for what is timed. */
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { RunRequest } from "../src/api/run-config.ts";
import type { StepMetrics } from "../src/api/run-metrics.ts";
import type { RunStatus } from "../src/api/run-status.ts";
import type { Mxfp4Edge } from "../src/client/mxfp4-edge.ts";
import type { RunClient } from "../src/client/run-client.ts";
import { trainerNames } from "../src/cli/joined-threads.ts";
import { cpuSeconds } from "./cpu-time.ts";

/** The first may have been paused amid it, and the next waits for objects that were at rest for so long that the platform let them go. */
const STEPS_BEFORE = 2;
/** Who takes no tick in so many of such times is at rest. */
const QUIET_TIMES = 3;
const QUIET_MS = 50;

/** So many steps in a row. */
export type Stretch = {
  steps: number;
  /** From the commit before the first to the last's. */
  seconds: number;
  /** Of each. */
  stepSeconds: number[];
  /** Of CPU. */
  edge: number;
  trainers: number;
  /** What the trainers told of each. */
  phases: NonNullable<StepMetrics["phases"]>[];
};

export type SiteSetting = {
  request: Omit<RunRequest, "steps" | "evaluation">;
  /** Of each process how many: those of one share what they pull. */
  trainers: readonly number[];
  /** As the trainers reach the edge. */
  url: string;
  edgePids: readonly number[];
};

export class TrainingSite {
  readonly #run: RunClient;
  readonly #trainers: ChildProcess[];
  readonly #edgePids: readonly number[];
  readonly #metrics: StepMetrics[] = [];
  #wake = (): void => {};

  private constructor(
    run: RunClient,
    trainers: ChildProcess[],
    edgePids: readonly number[],
  ) {
    this.#run = run;
    this.#trainers = trainers;
    this.#edgePids = edgePids;
    // Told, not asked for: whoever asks is work of the edge.
    this.#follow().catch((error: unknown) => console.error(error));
  }

  static async start(
    client: Mxfp4Edge,
    { request, trainers, url, edgePids }: SiteSetting,
  ): Promise<TrainingSite> {
    const { run: name } = await client.createRun({
      ...request,
      steps: 1_000_000,
      evaluation: { interval: 1_000_000, microbatches: 1 },
    });
    const run = client.run(name);
    await run.setState("paused");
    const file = join(import.meta.dirname, "trainer-process.ts");
    const processes = trainers.map((count, index) =>
      fork(file, [url, name, ...trainerNames(`trainer-${index}`, count)]),
    );
    return new TrainingSite(run, processes, edgePids);
  }

  /** At least so many steps, of which none had anything to wait for. */
  async time(steps: number): Promise<Stretch> {
    const before = this.#metrics.length;
    await this.#run.setState("running");
    await this.#reach(before + STEPS_BEFORE);
    const first = this.#metrics.length;
    const [edgeBefore, trainersBefore] = this.#cpu();
    await this.#reach(first + steps);
    const [edge, trainers] = this.#cpu();
    await this.#run.setState("paused");
    await this.#rest();
    const taken = this.#metrics.slice(first - 1);
    const [start, end] = [taken[0]!, taken.at(-1)!];
    return {
      steps: taken.length - 1,
      seconds: (end.committedMs - start.committedMs) / 1000,
      stepSeconds: taken
        .slice(1)
        .map((each, i) => (each.committedMs - taken[i]!.committedMs) / 1000),
      edge: edge - edgeBefore,
      trainers: trainers - trainersBefore,
      phases: taken.slice(1).flatMap(({ phases }) => phases ?? []),
    };
  }

  status(): Promise<RunStatus> {
    return this.#run.status();
  }

  async end(): Promise<void> {
    for (const trainer of this.#trainers) trainer.kill("SIGKILL");
    await this.#run.setState("cancelled");
  }

  async #follow(): Promise<void> {
    for await (const event of this.#run.events()) {
      if (event.type !== "step") continue;
      this.#metrics.push(event.metrics);
      this.#wake();
    }
  }

  async #reach(steps: number): Promise<void> {
    while (this.#metrics.length < steps)
      await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** Paused, trainers end the microbatch that they have, and the edge what it puts off: nobody else's samples shall have that beside them. */
  async #rest(): Promise<void> {
    let quiet = 0;
    for (let before = this.#cpu(); quiet < QUIET_TIMES;) {
      await delay(QUIET_MS);
      const now = this.#cpu();
      quiet = now.every((seconds, i) => seconds === before[i]) ? quiet + 1 : 0;
      before = now;
    }
  }

  #cpu(): [edge: number, trainers: number] {
    const trainers = this.#trainers.map(({ pid }) => pid!);
    return [cpuSeconds(this.#edgePids), cpuSeconds(trainers)];
  }
}
