/**
 * What subtrees spare a shard: steps of runs with and without, whose trainers are played. All that the edge does goes through
 * one thread here, so its parts are timed one after another, as CPU of its process, and added up as if each shard and each
 * subtree had a machine of its own.
 */
import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeFrame, frameDigest, payloadBytes } from "../../src/api/frame.ts";
import type { Lease } from "../../src/api/lease.ts";
import type { RunStatus } from "../../src/api/run-status.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import {
  MODEL_PRESETS,
  type ModelPreset,
} from "../../src/cli/train/presets.ts";
import { countedTokens } from "../../src/training/data.ts";
import { subtreesOf } from "../../src/training/subtrees.ts";
import { cpuSeconds } from "../cpu-time.ts";
import { edgePids } from "../edge-processes.ts";
import { commitKernels } from "./kernels.ts";
import type { ScalingEdge } from "./measure.ts";
import { median } from "../median.ts";

const SHARDS = 2;
const WIRE = "mxfp4-eden";
const QUIET_MS = 150;

/** `subtree` of null: shards take all pushes. */
type Setting = {
  preset: ModelPreset;
  microbatches: number;
  subtree: number | null;
};

/** Of one step of one shard, in seconds of CPU of the edge. */
export type SubtreeSample = Setting & {
  /** Of which all are the median, after a first. */
  steps: number;
  /** Of the machine, before. */
  load: number;
  /** Bytes of a push, and of a sum. */
  pushedBytes: number;
  sumBytes: number;
  /** Adding up one microbatch. */
  reduce: number;
  /** One of a microbatch. */
  push: number;
  /** One of a subtree, added up and handed over; 0 where there is none. */
  sum: number;
  commit: number;
};

const setting = (
  preset: ModelPreset,
  microbatches: number,
  subtree: number | null,
): Setting => ({ preset, microbatches, subtree });

const SETTINGS: readonly Setting[] = [
  setting("tiny", 64, null),
  setting("tiny", 64, 16),
  setting("small", 16, null),
  setting("small", 16, 4),
];

export async function measureSubtrees(
  { client, dataset, stateFolder }: ScalingEdge,
  counted: number,
  report: (line: string) => void,
): Promise<SubtreeSample[]> {
  const samples: SubtreeSample[] = [];
  const [load] = loadavg() as [number, number, number];
  for (const each of SETTINGS) {
    const { preset, microbatches, subtree } = each;
    const status = await client.createRun({
      dataset,
      model: MODEL_PRESETS[preset],
      gradientDtype: WIRE,
      sequences: 1,
      microbatches,
      shards: SHARDS,
      subtree: subtree ?? undefined,
      steps: 1_000_000,
      evaluation: { interval: 1_000_000, microbatches: 1 },
    });
    const run = client.run(status.run);
    const crowd = new Crowd(run, status, edgePids(stateFolder));
    await crowd.step();
    const steps: Parts[] = [];
    for (let step = 0; step < counted; step++) steps.push(await crowd.step());
    await run.setState("cancelled");
    await run.remove();
    const of = (part: keyof Parts) => median(steps.map((each) => each[part]));
    const { length } = status.shards[0]!;
    samples.push({
      ...each,
      load,
      steps: counted,
      pushedBytes: payloadBytes(WIRE, length),
      sumBytes: payloadBytes("f32", length),
      reduce: commitKernels(status.config).reduce / SHARDS,
      push: of("push"),
      sum: of("sum"),
      commit: of("commit"),
    });
    report(
      `${preset}, ${microbatches} microbatches, subtrees of ${subtree ?? "none"}`,
    );
  }
  return samples;
}

type Parts = Pick<SubtreeSample, "push" | "sum" | "commit">;

/** One of a trainer that is played. */
type Held = {
  lease: Lease;
  trainer: string;
  bootId: string;
  digests: string[];
};

/** As many trainers as a step has microbatches, each with one; what they push are bytes that decode, and no gradient. */
class Crowd {
  readonly #run: RunClient;
  readonly #status: RunStatus;
  readonly #pids: readonly number[];
  readonly #payloads: Uint8Array[];

  constructor(run: RunClient, status: RunStatus, pids: readonly number[]) {
    this.#run = run;
    this.#status = status;
    this.#pids = pids;
    this.#payloads = status.shards.map(({ length }) => {
      const payload = new Uint8Array(payloadBytes(WIRE, length)).fill(120);
      for (let at = 0; at < length / 2; at++) payload[at] = at * 31;
      return payload;
    });
  }

  async step(): Promise<Parts> {
    const held = await this.#leases();
    const last = new Set(
      subtreesOf(this.#status.config).map(
        ({ first, count }) => first + count - 1,
      ),
    );
    const { length: shards } = this.#payloads;
    const [early, late] = [false, true].map((isLast) =>
      held.filter(({ lease }) => last.has(lease.index) === isLast),
    ) as [Held[], Held[]];
    const push =
      (await this.#spent(early, (each) => this.#push(each))) / shards;
    const both = (await this.#spent(late, (each) => this.#push(each))) / shards;
    const [first, ...others] = held;
    await this.#spent(others, (each) => this.#complete(each));
    const commit = await this.#spent([first!], (each) => this.#complete(each));
    return { push, sum: Math.max(0, both - push), commit: commit / shards };
  }

  /** Of training, in order; those of evaluations are done at once. */
  async #leases(): Promise<Held[]> {
    const { microbatches } = this.#status.config;
    const held: Held[] = [];
    const bootId = crypto.randomUUID();
    for (let next = 0; next < microbatches;) {
      const trainer = `trainer-${next}`;
      const { lease } = await this.#run.lease({
        trainer,
        bootId,
        fingerprint: "played",
      });
      if (!lease) continue;
      const each = { lease, trainer, bootId, digests: [] };
      if (lease.kind === "eval") await this.#complete(each);
      else {
        held[lease.index] = each;
        next++;
      }
    }
    return held;
  }

  async #push({ lease, digests }: Held): Promise<void> {
    const { step, index: microbatch } = lease;
    for (const { index, start, length } of this.#status.shards) {
      const frame = await encodeFrame(
        { kind: "gradient", dtype: WIRE, step, microbatch, start, length },
        this.#payloads[index]!,
      );
      digests.push(frameDigest(frame));
      await this.#run.push(index, lease, frame);
    }
  }

  async #complete({ lease, digests, ...holder }: Held): Promise<void> {
    const { kind, index } = lease;
    const tokens = countedTokens(this.#status.config, kind, index);
    await this.#run.complete(lease, {
      ...holder,
      lossSum: tokens,
      tokens,
      digests,
    });
  }

  /** CPU of the edge for one of `all`, once it has nothing more to do. */
  async #spent(
    all: readonly Held[],
    body: (each: Held) => Promise<void>,
  ): Promise<number> {
    if (all.length === 0) return 0;
    const before = cpuSeconds(this.#pids);
    for (const each of all) await body(each);
    for (let known = before; ;) {
      const now = cpuSeconds(this.#pids);
      if (now === known) return (now - before) / all.length;
      known = now;
      await sleep(QUIET_MS);
    }
  }
}
