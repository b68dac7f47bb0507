/** How soon a run goes on after a process was killed, and what kills cost it: real processes, real signals. */
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "../../src/client/client.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { startEdge } from "../../src/local/edge.ts";
import { ensureBuilt } from "../../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../../src/scripts/build/targets.ts";
import { cpuSeconds } from "../cpu-time.ts";
import { edgePids, killEdge } from "../edge-processes.ts";
import { median } from "../median.ts";

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

const KINDS: Record<string, (site: Site) => void | Promise<void>> = {
  "SIGKILL of the edge's process": ({ stateFolder }) =>
    void killEdge(stateFolder),
  "SIGKILL of one trainer of four": ({ trainers }) =>
    void trainers[0]!.kill("SIGKILL"),
  "SIGKILL of all four trainers": ({ trainers }) =>
    trainers.forEach((trainer) => trainer.kill("SIGKILL")),
  "SIGSTOP of one trainer of four, 3 s": async ({ trainers }) => {
    const [trainer] = trainers;
    trainer!.kill("SIGSTOP");
    await sleep(3_000);
    trainer!.kill("SIGCONT");
  },
};

/** Where a run is trained. */
type Site = {
  stateFolder: string;
  run: RunClient;
  /** Each comes back when it ends, as under a supervisor. */
  trainers: readonly ChildProcess[];
  /** Microbatches that they have told of so far. */
  computed: () => number;
};

type Spread = { median: number; longest: number };

export type Recovery = {
  /** Seconds to the next commit, by what happened. */
  waits: ({ kind: string } & Spread)[];
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
  heard: Spread;
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
  const supervised = superviseTrainers(edge.url, name);
  const site: Site = { stateFolder, run, ...supervised };
  try {
    while ((await run.status()).step < 20) await sleep(100);
    const waits = await measureWaits(site, onWait);
    await run.setState("paused");
    const heard = await measureHearing(client);
    onWait(`a trainer that waits has work after ${heard.median.toFixed(0)} ms`);
    await run.setState("running");
    return { waits, heard, ...(await measureCosts(site)) };
  } finally {
    supervised.end();
    await edge.close();
  }
}

function superviseTrainers(url: string, run: string) {
  const file = join(import.meta.dirname, "../trainer-process.ts");
  const trainers: ChildProcess[] = [];
  let isOver = false;
  let computed = 0;
  const begin = (index: number): void => {
    const child = fork(file, [url, run, `trainer-${index}`]);
    child.on("message", () => computed++);
    child.on("exit", () => isOver || begin(index));
    trainers[index] = child;
  };
  for (let index = 0; index < TRAINERS; index++) begin(index);
  return {
    trainers,
    computed: () => computed,
    end(): void {
      isOver = true;
      for (const trainer of trainers) trainer.kill("SIGKILL");
    },
  };
}

async function measureWaits(
  site: Site,
  onWait: (line: string) => void,
): Promise<Recovery["waits"]> {
  const waits = [];
  for (const [kind, happen] of Object.entries(KINDS)) {
    const seconds = [];
    for (let round = 0; round < ROUNDS; round++) {
      await sleep(SETTLE_MS);
      const atMs = Date.now();
      const happening = happen(site);
      seconds.push(((await nextCommitMs(site.run, atMs)) - atMs) / 1000);
      await happening;
    }
    const wait = { kind, ...spreadOf(seconds) };
    waits.push(wait);
    const { median, longest } = wait;
    onWait(`${kind}: ${median.toFixed(2)} s, at most ${longest.toFixed(2)}`);
  }
  return waits;
}

/** Steps a second: left alone, disturbed by kills, left alone again, and beside a crowd. */
async function measureCosts(
  site: Site,
): Promise<Pick<Recovery, "alone" | "disturbed" | "useful" | "crowd">> {
  const aloneMs = (KILLS * KILL_EVERY_MS) / 2;
  const first = await speedOf(site, () => sleep(aloneMs));
  const computedBefore = site.computed();
  const disturbed = await speedOf(site, async () => {
    for (let kill = 0; kill < KILLS; kill++) {
      await sleep(KILL_EVERY_MS / 2);
      site.trainers[kill % TRAINERS]!.kill("SIGKILL");
      await sleep(KILL_EVERY_MS / 2);
    }
  });
  const told = site.computed() - computedBefore;
  if (told === 0)
    throw new Error("Expected trainers to tell what they did, got nothing");
  // What a trainer was at when it was killed is lost: one microbatch at most.
  const computed = told + KILLS;
  const last = await speedOf(site, () => sleep(aloneMs));
  const { names } = CROWD;
  const crowded = await speedOf(site, () => joinAndVanish(site.run));
  // Less what its steps took.
  const spent = crowded.cpu - (crowded.steps * last.cpu) / last.steps;
  const { seconds, rate } = crowded;
  return {
    alone: (first.rate + last.rate) / 2,
    disturbed: disturbed.rate,
    useful: Math.min(1, (disturbed.steps * RUN.microbatches) / computed),
    crowd: { names, seconds, rate, cpu: spent / names },
  };
}

/** Steps while `body` goes on, and seconds of the edge's CPU. */
async function speedOf({ run, stateFolder }: Site, body: () => Promise<void>) {
  const before = (await run.status()).step;
  const pids = edgePids(stateFolder);
  const [startMs, startCpu] = [Date.now(), cpuSeconds(pids)];
  await body();
  const steps = (await run.status()).step - before;
  const seconds = (Date.now() - startMs) / 1000;
  const cpu = cpuSeconds(pids) - startCpu;
  return { steps, seconds, rate: steps / seconds, cpu };
}

function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), longest: Math.max(...values) };
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
  return spreadOf(times);
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
