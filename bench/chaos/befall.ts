/** One run under one schedule, from its creation to its end. */
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "../../src/api/errors.ts";
import type { RunRequest } from "../../src/api/run-config.ts";
import { hasEnded } from "../../src/api/run-status.ts";
import { Client } from "../../src/client/client.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { fingerprint } from "../../src/kernels/matmul.ts";
import { isFinalRefusal } from "../../src/training/refusals.ts";
import { RunTrainer } from "../../src/training/trainer.ts";
import { isRefused, lying, type Told } from "./liar.ts";
import { faultyNetwork, Killed } from "./network.ts";
import {
  type ObjectFault,
  randomOf,
  type Rewind,
  type Schedule,
} from "./schedule.ts";

/** Long enough that only what hangs does not end. */
const PATIENCE_MS = 120_000;
/** Hosts of trainers begin them again after such a pause. */
const RESTART_MS = 20;

/** What must be the same, whatever happened. */
export type Outcome = { metrics: string; checkpoint: Buffer };

export type Befallen = {
  outcome: Outcome;
  /** Microbatches that a trainer computed and the run took, duplicates too. */
  computed: number;
  /** What the trainer that lies has told. */
  told: Told;
  /** How often the run has gone back. */
  rewinds: number;
  ms: number;
};

export type Edge = {
  url: string;
  /** It has reached the edge, so it is patient with one that starts again. */
  client: Client;
  /** Kill its process; it comes back. */
  kill(): void;
};

/** Two authors of each microbatch: any two, or one and whom the run draws. */
function secondAuthor({ seed }: Schedule): Partial<RunRequest> {
  return seed % 2 === 0 ? { verify: 1 } : { redundancy: 2 };
}

/** Errors: the run does not end, or a trainer was refused for good */
export async function befall(
  edge: Edge,
  schedule: Schedule,
  request: RunRequest,
): Promise<Befallen> {
  const started = performance.now();
  const { liar } = schedule;
  const { run: name } = await edge.client.createRun({
    ...request,
    ...(liar && secondAuthor(schedule)),
  });
  const run = edge.client.run(name);
  const faultsOf = (objects: readonly ObjectFault[]) =>
    setFaults(
      edge.url,
      objects.map((fault) => ({ ...fault, object: name + fault.object })),
    );
  await faultsOf(schedule.objects);
  const issued = liar ? await run.joinToken() : undefined;

  const over = new AbortController();
  let requests = 0;
  let computed = 0;
  let rewinding: Promise<number> = Promise.resolve(0);
  const told: Told = { lies: new Map(), accepted: 0 };
  let isLiarGone = false;
  const hasLied = () =>
    isLiarGone ||
    (liar!.lies.every((lie) => told.lies.has(lie)) &&
      (told.accepted > 0 || liar!.lies.every(isRefused)));
  const host = async (index: number): Promise<void> => {
    const random = randomOf(schedule.seed * 31 + index + 1);
    const faults = schedule.trainerFaults.filter(
      ({ trainer }) => trainer === index,
    );
    let own = 0;
    const onRequest = async () => {
      if (++requests === schedule.edgeKill) edge.kill();
      if (requests === schedule.rewind?.request) {
        rewinding = goBack(run, schedule.rewind, faultsOf).then((count) => {
          // What was told of the steps that it took back is void, lies too.
          if (count > 0) told.accepted = 0;
          return count;
        });
        // It is awaited when the run has ended.
        rewinding.catch(() => {});
      }
      own++;
      for (const { request: at, kind, stopMs } of faults) {
        if (at !== own) continue;
        if (kind === "kill") throw new Killed();
        await sleep(stopMs);
      }
    };
    const fetcher = faultyNetwork(schedule.network, random, onRequest);
    const isLiar = index === schedule.trainers;
    if (liar?.comesFirst && !isLiar)
      while (!hasLied() && !over.signal.aborted) await sleep(RESTART_MS);
    while (!over.signal.aborted) {
      const own = new Client({
        baseUrl: edge.url,
        fetcher,
        signal: over.signal,
        token: isLiar ? issued!.token : undefined,
      }).run(name);
      const service = isLiar ? lying(own, liar!, random, told) : own;
      try {
        await new RunTrainer(service, {
          trainer: isLiar ? "liar" : `trainer-${index}`,
          bootId: crypto.randomUUID(),
          fingerprint: fingerprint(),
        }).train({ signal: over.signal, onCompleted: () => computed++ });
        return;
      } catch (error) {
        if (over.signal.aborted) return;
        if (error instanceof AppError && isFinalRefusal(error)) {
          isLiarGone ||= isLiar;
          if (error.code === "run_ended" || isLiar) return;
          throw error;
        }
        await sleep(RESTART_MS);
      }
    }
  };
  const count = schedule.trainers + (liar ? 1 : 0);
  const hosts = Array.from({ length: count }, (_, index) => host(index));
  try {
    await Promise.race([Promise.all(hosts).then(() => ended(run)), ended(run)]);
  } finally {
    over.abort();
  }
  await Promise.all(hosts);
  const rewinds = await rewinding;
  const outcome = await outcomeOf(run);
  const ms = performance.now() - started;
  if (issued && told.accepted > 0) await checkFound(run, issued.id);
  await run.remove().catch(goneAlready);
  return { outcome, computed, told, rewinds, ms };
}

/** Returns how often it has: not at all, where the run has ended before. */
async function goBack(
  run: RunClient,
  { steps, objects }: Rewind,
  setAll: (objects: readonly ObjectFault[]) => Promise<void>,
): Promise<number> {
  const { step } = await run.status();
  await setAll(objects);
  try {
    await run.rewind(Math.max(0, step - steps));
    return 1;
  } catch (error) {
    if (error instanceof AppError && error.code === "wrong_state") return 0;
    throw error;
  }
}

/** A removal whose answer was lost, since another schedule killed the edge, finds nothing when it is asked for again. */
function goneAlready(error: unknown): void {
  if (!(error instanceof AppError) || error.code !== "run_not_found")
    throw error;
}

/** Each result had to be told by two. */
async function checkFound(run: RunClient, id: string): Promise<void> {
  const token = (await run.joinTokens()).find((each) => each.id === id);
  if (token?.state === "quarantined") return;
  throw new Error(
    `Expected a token that lied to be under quarantine, got it ${token?.state}`,
  );
}

async function ended(run: RunClient): Promise<void> {
  const endMs = Date.now() + PATIENCE_MS;
  for (;;) {
    const { state, step } = await run.status();
    if (hasEnded(state)) return;
    if (Date.now() > endMs)
      throw new Error(
        `Expected the run to end within ${PATIENCE_MS / 1000} s, got it ${state} at step ${step}`,
      );
    await sleep(100);
  }
}

async function outcomeOf(run: RunClient): Promise<Outcome> {
  const metrics = await run.metrics();
  const told = metrics.map(
    ({ step, trainLoss, valLoss, gradNorm, learningRate, tokens }) => ({
      step,
      trainLoss,
      valLoss,
      gradNorm,
      learningRate,
      tokens,
    }),
  );
  return { metrics: JSON.stringify(told), checkpoint: await checkpointOf(run) };
}

/** Whole: the edge may be killed while it comes. */
async function checkpointOf(run: RunClient): Promise<Buffer> {
  for (;;) {
    const answer = await run.checkpoint({ state: "full" });
    const bytes = Number(answer.headers.get("Content-Length"));
    const body = await answer.arrayBuffer().catch(() => new ArrayBuffer(0));
    if (body.byteLength === bytes) return Buffer.from(body);
  }
}

/** Once: the edge may be away, but a fault that is set twice would come twice. */
async function setFaults(url: string, faults: object[]): Promise<void> {
  if (faults.length === 0) return;
  const body = JSON.stringify(faults);
  const response = await fetch(`${url}/chaos`, { method: "PUT", body }).catch(
    () => undefined,
  );
  await response?.body?.cancel();
}
