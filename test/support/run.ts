/** Whole runs over the HTTP contract, on a model so small that a run takes a second. */
import { createExecutionContext, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { encodeFrame, frameDigest } from "../../src/api/frame.ts";
import type {
  CompletionResponse,
  Lease,
  LeaseResponse,
} from "../../src/api/lease.ts";
import type { RunConfig, RunRequest } from "../../src/api/run-config.ts";
import type { RunStatus } from "../../src/api/run-status.ts";
import { Client } from "../../src/client/client.ts";
import type { Fetcher } from "../../src/client/http.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { app } from "../../src/http/app.ts";
import type { Env } from "../../src/http/env.ts";
import {
  authorOf,
  leaseKey,
  OWNER,
} from "../../src/objects/platform/author.ts";
import type { ObjectBindings } from "../../src/objects/platform/bindings.ts";
import type { TrainingService } from "../../src/training/service.ts";
import { RunTrainer } from "../../src/training/trainer.ts";
import "./kernels.ts";

const ORIGIN = "http://127.0.0.1:8787";
export const FINGERPRINT = "test";
export const bindings = env as unknown as ObjectBindings;

/**
 * The Worker, called as a function: its loopback (`exports.default.fetch`) gets slower with each
 * call in this test pool. A network adds Content-Length, so this does.
 */
export const worker: Fetcher = {
  async fetch(url, init = {}) {
    const headers = new Headers(init.headers);
    const { body } = init;
    const bytes =
      body instanceof Uint8Array ? body.length : (body as string)?.length;
    if (bytes !== undefined && !headers.has("Content-Length")) {
      headers.set("Content-Length", `${bytes}`);
    }
    const request = new Request(url, { ...init, headers });
    return app.fetch(request, env as unknown as Env, createExecutionContext());
  },
};

export function clientOf(fetcher: Fetcher = worker, token?: string): Client {
  return new Client({ baseUrl: ORIGIN, fetcher, token });
}

/** The key of a lease that a trainer may have had, whoever has it now. */
export async function keyOf(
  run: string,
  leased: Pick<Lease, "kind" | "step" | "index">,
  trainer = "scripted",
  caller = OWNER,
): Promise<string> {
  const keys = await runInDurableObject(
    bindings.RUN.getByName(run),
    (_object, { storage }) =>
      storage.sql
        .exec<{ creation: string; secret: string; config: string }>(
          "SELECT creation, secret, config FROM run",
        )
        .one(),
  );
  const { subtree } = JSON.parse(keys.config) as RunConfig;
  return leaseKey(keys, authorOf(caller, trainer), leased, subtree);
}

/** Held out: its last 5 %, 205 tokens, so an evaluation has a window that is slid back. */
const CORPUS_BYTES = 4096;

/** Text with something to learn, the same every time. */
export function corpus(bytes = CORPUS_BYTES): Uint8Array<ArrayBuffer> {
  const words = ["the ", "whale ", "swam ", "under ", "a ", "cold ", "sea. "];
  let text = "";
  for (let word = 7; text.length < bytes; word = (word * 31 + 11) % 1009) {
    text += words[word % words.length];
  }
  return new Uint8Array(new TextEncoder().encode(text.slice(0, bytes)));
}

export const TINY: Omit<RunRequest, "dataset"> = {
  model: { layers: 1, width: 64, heads: 2, context: 64 },
  seed: 1,
  steps: 3,
  microbatches: 4,
  sequences: 1,
  optimizer: { learningRate: 1e-2, warmupSteps: 1 },
  evaluation: { interval: 2, microbatches: 2 },
  shards: 1,
  snapshotSteps: 2,
};

/** A corpus that is there, and a run over it. */
export async function startRun(
  changes: Partial<RunRequest> = {},
  client = clientOf(),
): Promise<{ status: RunStatus; run: RunClient }> {
  // `reset` may leave an evicted directory and take its corpora: each run has one of its own.
  const dataset = `corpus-${crypto.randomUUID()}`;
  await client.putDataset(dataset, corpus());
  const status = await client.createRun({ ...TINY, dataset, ...changes });
  return { status, run: client.run(status.run) };
}

/** Train a run to its end with trainers of these names. */
export async function finish(
  run: TrainingService,
  trainers: string[] = ["one"],
): Promise<void> {
  await Promise.all(
    trainers.map((trainer) =>
      new RunTrainer(run, {
        trainer,
        bootId: crypto.randomUUID(),
        fingerprint: FINGERPRINT,
      }).train(),
    ),
  );
}

/** What promise 1 is about. */
export type Outcome = {
  checkpoint: Uint8Array;
  losses: (number | null)[];
  gradNorms: (number | null)[];
};

export async function outcomeOf(run: RunClient): Promise<Outcome> {
  const metrics = await run.metrics();
  const response = await run.checkpoint();
  return {
    checkpoint: new Uint8Array(await response.arrayBuffer()),
    losses: metrics.flatMap(({ trainLoss, valLoss }) => [trainLoss, valLoss]),
    gradNorms: metrics.map(({ gradNorm }) => gradNorm),
  };
}

/** A run that waits for what never comes fails its test, and goes on no longer than that. */
const REACH_MS = 90_000;

/** A trainer whose gradients and losses the test chooses, for runs of gradient dtype f32. */
export class ScriptedTrainer {
  readonly run: RunClient;
  readonly status: RunStatus;
  readonly identity;

  constructor(run: RunClient, status: RunStatus, trainer = "scripted") {
    this.run = run;
    this.status = status;
    this.identity = { trainer, bootId: "boot", fingerprint: FINGERPRINT };
  }

  /** Another, with a join token of its own. */
  async stranger(name: string): Promise<ScriptedTrainer & { token: string }> {
    const { token } = await this.run.joinToken();
    const run = clientOf(worker, token).run(this.run.run);
    return Object.assign(new ScriptedTrainer(run, this.status, name), {
      token,
    });
  }

  async frame(
    shard: number,
    step: number,
    microbatch: number,
    value: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { start, length } = this.status.shards[shard]!;
    return encodeFrame(
      { kind: "gradient", dtype: "f32", step, microbatch, start, length },
      new Uint8Array(new Float32Array(length).fill(value).buffer),
    );
  }

  /** Without a lease, which others would have. */
  async push(step: number, microbatch: number, value: number): Promise<void> {
    const leased = { kind: "train", step, index: microbatch } as const;
    const key = await keyOf(this.run.run, leased, this.identity.trainer);
    await this.pushFor({ ...leased, key, deadlineMs: 0 }, value);
  }

  /** A constant gradient, to every shard. */
  async pushFor(lease: Lease, value: number): Promise<void> {
    for (const { index } of this.status.shards) {
      const frame = await this.frame(index, lease.step, lease.index, value);
      await this.run.push(index, lease, frame);
    }
  }

  /** The next lease, done: a constant gradient, a loss of 1 nat a token. */
  async doLease(value = 0.5): Promise<LeaseResponse> {
    const response = await this.run.lease(this.identity);
    const { lease } = response;
    if (!lease) return response;
    if (lease.kind === "train") await this.pushFor(lease, value);
    return this.complete(lease, value);
  }

  /** What `value` was pushed for. */
  digests(
    { step, index }: Pick<Lease, "step" | "index">,
    value: number,
  ): Promise<string[]> {
    return Promise.all(
      this.status.shards.map(async (shard) =>
        frameDigest(await this.frame(shard.index, step, index, value)),
      ),
    );
  }

  async complete(
    lease: Lease,
    value = 0.5,
    lossSum = 64,
  ): Promise<CompletionResponse> {
    const { trainer, bootId } = this.identity;
    return this.run.complete(lease, {
      trainer,
      bootId,
      lossSum,
      tokens: 64,
      ...(lease.kind === "train" && {
        digests: await this.digests(lease, value),
      }),
    });
  }

  /** Leases, until the run is at `step` or has ended. */
  async reach(step: number): Promise<RunStatus> {
    const endMs = Date.now() + REACH_MS;
    for (;;) {
      const status = await this.run.status();
      if (status.step >= step || status.state !== "running") return status;
      if (Date.now() > endMs)
        throw new Error(
          `Expected the run to reach step ${step} within ${REACH_MS / 1000} s, got it at ${status.step}`,
        );
      await this.doLease();
    }
  }
}

/** A run of f32 gradients, and its scripted trainer. */
export async function startScripted(
  changes: Partial<RunRequest> = {},
): Promise<ScriptedTrainer> {
  const { run, status } = await startRun({ gradientDtype: "f32", ...changes });
  return new ScriptedTrainer(run, status);
}

/** A request, whatever comes of it. */
export function call(
  method: string,
  path: string,
  body?: RequestInit["body"],
  headers: Record<string, string> = {},
): Promise<Response> {
  return worker.fetch(ORIGIN + path, {
    method,
    headers,
    ...(body === undefined ? {} : { body }),
  });
}

export function callJson(
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  return call(method, path, JSON.stringify(body), {
    "Content-Type": "application/json",
    ...headers,
  });
}
