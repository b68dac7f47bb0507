/** How soon a run goes on after a process was killed, and what kills cost it: real processes, real signals. */
import { type ChildProcess, fork } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "../../src/client/client.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { startEdge } from "../../src/local/edge.ts";
import { ensureBuilt } from "../../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../../src/scripts/build/targets.ts";
import { cpuSeconds, edgePids } from "../cpu-time.ts";

/** Of 0.1 M parameters; a step is tens of milliseconds, so a commit's wait is that of who was killed. */
const RUN = {
  dataset: "recovery",
  model: { layers: 2, width: 64, heads: 2, context: 64 },
  steps: 1_000_000,
  microbatches: 8,
  sequences: 2,
  shards: 2,
  evaluation: { interval: 1_000_000, microbatches: 1 },
};
const TRAINERS = 4;
const ROUNDS = 5;
const KILL_EVERY_MS = 20_000;
const KILLS = 3;
/** Names of a crowd, each of which takes a lease and vanishes; so many at a time. */
const CROWD = { names: 2_700, seconds: 20, atOnce: 50 };
/** So often a trainer waits for work, for so long. */
const HEARINGS = 50;
const HEARING_MS = 100;
/** Between two kills, so that all are at work again. */
const SETTLE_MS = 2_000;

const KINDS = {
  "SIGKILL of the edge's process": (site: Site) => site.killEdge(),
  "SIGKILL of one trainer of four": ({ trainers }: Site) =>
    trainers[0]!.kill("SIGKILL"),
  "SIGKILL of all four trainers": ({ trainers }: Site) =>
    trainers.forEach((trainer) => trainer.kill("SIGKILL")),
  "SIGSTOP of one trainer of four, 3 s": async ({ trainers }: Site) => {
    const [trainer] = trainers;
    trainer!.kill("SIGSTOP");
    await sleep(3_000);
    trainer!.kill("SIGCONT");
  },
} as const;

/** Where a run is trained. */
type Site = { killEdge(): void; trainers: ChildProcess[] };

export type Recovery = {
  /** Seconds to the next commit, by what happened: the median, and the longest. */
  waits: { kind: string; median: number; longest: number }[];
  /** Steps a second, left alone and with a trainer killed every 20 s. */
  alone: number;
  disturbed: number;
  /** Of all microbatches that were computed, those that a step needed. */
  useful: number;
  /**
   * Steps a second while `names` trainers took leases and vanished within `seconds`, and what each took of the edge's CPU,
   * in seconds.
   */
  crowd: { names: number; seconds: number; rate: number; cpu: number };
  /** Milliseconds from when there is work until a trainer that waits has its lease. */
  heard: { median: number; longest: number };
};

export async function measureRecovery(
  stateFolder: string,
  onWait: (line: string) => void,
): Promise<Recovery> {
  await ensureBuilt(BUILD_TARGETS.worker);
  const edge = await startEdge({ stateFolder, quiet: true, report: () => {} });
  const client = new Client({ baseUrl: edge.url });
  const text = "It was the best of times, it was the worst of times. ";
  await client.putDataset("recovery", new Blob([text.repeat(400)]));
  const { run: name } = await client.createRun(RUN);
  const run = client.run(name);

  let isOver = false;
  let computed = 0;
  const trainers: ChildProcess[] = [];
  const begin = (index: number): void => {
    const file = join(import.meta.dirname, "../trainer-process.ts");
    const child = fork(file, [edge.url, name, `trainer-${index}`]);
    child.on("message", () => computed++);
    // As a supervisor does.
    child.on("exit", () => isOver || begin(index));
    trainers[index] = child;
  };
  for (let index = 0; index < TRAINERS; index++) begin(index);
  const site: Site = {
    trainers,
    killEdge: () => {
      for (const pid of readdirSync(join(stateFolder, "pids"))) {
        try {
          process.kill(Number(pid), "SIGKILL");
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
        }
      }
    },
  };
  try {
    while ((await run.status()).step < 20) await sleep(100);
    const waits = [];
    for (const [kind, happen] of Object.entries(KINDS)) {
      const seconds = [];
      for (let round = 0; round < ROUNDS; round++) {
        await sleep(SETTLE_MS);
        const atMs = Date.now();
        const happening = happen(site);
        seconds.push(((await nextCommitMs(run, atMs)) - atMs) / 1000);
        await happening;
      }
      seconds.sort((a, b) => a - b);
      const median = seconds[ROUNDS >> 1]!;
      const longest = seconds.at(-1)!;
      waits.push({ kind, median, longest });
      onWait(`${kind}: ${median.toFixed(2)} s, at most ${longest.toFixed(2)}`);
    }
    await run.setState("paused");
    const heard = await measureHearing(client);
    onWait(`a trainer that waits has work after ${heard.median.toFixed(0)} ms`);
    await run.setState("running");
    const period = KILLS * KILL_EVERY_MS;
    const speed = async (body: () => Promise<void>) => {
      const before = (await run.status()).step;
      const pids = edgePids(stateFolder);
      const [startMs, startCpu] = [Date.now(), cpuSeconds(pids)];
      await body();
      const steps = (await run.status()).step - before;
      const seconds = (Date.now() - startMs) / 1000;
      return {
        steps,
        seconds,
        rate: steps / seconds,
        cpu: cpuSeconds(pids) - startCpu,
      };
    };
    const first = await speed(() => sleep(period / 2));
    const computedBefore = computed;
    const disturbed = await speed(async () => {
      for (let kill = 0; kill < KILLS; kill++) {
        await sleep(KILL_EVERY_MS / 2);
        trainers[kill % TRAINERS]!.kill("SIGKILL");
        await sleep(KILL_EVERY_MS / 2);
      }
    });
    // What a trainer was at when it was killed is lost: one microbatch at most.
    const done = computed - computedBefore;
    if (done === 0)
      throw new Error("Expected trainers to tell what they did, got nothing");
    const all = done + KILLS;
    const last = await speed(() => sleep(period / 2));
    const crowded = await speed(() => joinAndVanish(run));
    const { names } = CROWD;
    const { seconds, rate } = crowded;
    // Less what its steps took.
    const spent = crowded.cpu - (crowded.steps * last.cpu) / last.steps;
    return {
      waits,
      alone: (first.rate + last.rate) / 2,
      disturbed: disturbed.rate,
      useful: Math.min(1, (disturbed.steps * RUN.microbatches) / all),
      crowd: { names, seconds, rate, cpu: spent / names },
      heard,
    };
  } finally {
    isOver = true;
    for (const trainer of trainers) trainer.kill("SIGKILL");
    await edge.close();
  }
}

/** A run of its own is paused, and told to go on while its one trainer waits. */
async function measureHearing(client: Client): Promise<Recovery["heard"]> {
  const run = client.run((await client.createRun(RUN)).run);
  const trainer = { trainer: "idle", bootId: "1", fingerprint: "any" };
  const times: number[] = [];
  for (let count = 0; count < HEARINGS; count++) {
    await run.setState("paused");
    const waiting = run.lease(trainer);
    await sleep(HEARING_MS);
    const startMs = performance.now();
    await run.setState("running");
    if (!(await waiting).lease)
      throw new Error("Expected a lease for the one that waits, got none");
    times.push(performance.now() - startMs);
    await run.leave(trainer);
  }
  await run.setState("cancelled");
  times.sort((a, b) => a - b);
  return { median: times[HEARINGS >> 1]!, longest: times.at(-1)! };
}

async function joinAndVanish(run: RunClient): Promise<void> {
  const { fingerprint } = await run.status();
  const { names, seconds, atOnce } = CROWD;
  const each = names / atOnce;
  const places = Array.from({ length: atOnce }, async (_, place) => {
    for (let turn = 0; turn < each; turn++) {
      const trainer = `gone-${place}-${turn}`;
      const startMs = performance.now();
      await run.lease({ trainer, bootId: "gone", fingerprint: fingerprint! });
      const tookMs = performance.now() - startMs;
      await sleep(Math.max(0, (1000 * seconds) / each - tookMs));
    }
  });
  await Promise.all(places);
}

/** When the first step after `atMs` was committed, by the edge's clock, which is this machine's. */
async function nextCommitMs(run: RunClient, atMs: number): Promise<number> {
  for (;;) {
    const commit = (await run.metrics()).find(
      ({ committedMs }) => committedMs > atMs,
    );
    if (commit) return commit.committedMs;
    await sleep(20);
  }
}
