/**
 * Which tokens a microbatch holds: a pure function of the config and the lease. The first 95 % of
 * a corpus are trained on, the last 5 % are held out for evaluation.
 */
import type { Lease } from "../api/lease.ts";
import type { RunConfig } from "../api/run-config.ts";
import { type NoiseKey, noiseKey, PURPOSE } from "../kernels/noise.ts";
import { kernels } from "../kernels/runtime.ts";
import { type Batch, IGNORED_TARGET } from "../model/model.ts";
import type { LossSum } from "./step-end.ts";

const TRAIN_PERCENT = 95;

/** A range of token positions. */
export type TokenRange = { start: number; length: number };

/** `context` inputs from `start`, each position's target the next token. */
export type Window = {
  start: number;
  /** Number of targets at the front that are not counted, since the window before has them. */
  skipped: number;
};

/** Ids of 8 or 16 bits. */
export type Tokens = Uint8Array | Uint16Array;

export type ReadTokens = (start: number, length: number) => Promise<Tokens>;

export function splitTokens(tokens: number): {
  train: TokenRange;
  heldOut: TokenRange;
} {
  const trained = Math.floor((tokens * TRAIN_PERCENT) / 100);
  return {
    train: { start: 0, length: trained },
    heldOut: { start: trained, length: tokens - trained },
  };
}

/** The windows of one training microbatch, drawn evenly from all that lie within the split. */
export function trainWindows(
  config: RunConfig,
  step: number,
  microbatch: number,
): Window[] {
  const { train } = splitTokens(config.dataset.tokens);
  const starts = train.length - config.model.context;
  const key = noiseKey(config.seed, PURPOSE.tokens, step, microbatch);
  return drawWords(key, config.sequences).map((word) => ({
    start: train.start + multiplyHigh(word, starts),
    skipped: 0,
  }));
}

/** Microbatches needed to evaluate the whole held-out split. */
export function heldOutMicrobatches(config: RunConfig): number {
  return Math.ceil(heldOutWindows(config) / config.sequences);
}

/** Microbatches of the evaluation at `step`; 0 where there is none. */
export function evaluationMicrobatches(
  config: RunConfig,
  step: number,
): number {
  const all = heldOutMicrobatches(config);
  if (step === config.steps) return all;
  if (step % config.evaluation.interval !== 0) return 0;
  return Math.min(all, config.evaluation.microbatches);
}

/**
 * The windows of one evaluation microbatch: they follow one another through the held-out split. The
 * last one is slid back to fit, and the targets that it repeats are not counted; windows past it,
 * in the last microbatch, count nothing. So the whole split counts each of its targets once.
 */
export function evaluationWindows(config: RunConfig, index: number): Window[] {
  const { heldOut } = splitTokens(config.dataset.tokens);
  const { context } = config.model;
  const windows = heldOutWindows(config);
  const lastStart = heldOut.start + heldOut.length - 1 - context;
  return Array.from({ length: config.sequences }, (_, sequence) => {
    const window = index * config.sequences + sequence;
    if (window >= windows) return { start: heldOut.start, skipped: context };
    const start = heldOut.start + window * context;
    return start <= lastStart
      ? { start, skipped: 0 }
      : { start: lastStart, skipped: start - lastStart };
  });
}

/** Targets that a microbatch's loss is summed over. */
export function countedTokens(
  config: RunConfig,
  kind: Lease["kind"],
  index: number,
): number {
  const { model, sequences } = config;
  if (kind === "train") return sequences * model.context;
  return evaluationWindows(config, index).reduce(
    (sum, { skipped }) => sum + model.context - skipped,
    0,
  );
}

/** The batch of a lease, its windows read with `read`. */
export async function readBatch(
  config: RunConfig,
  lease: Pick<Lease, "kind" | "step" | "index">,
  read: ReadTokens,
): Promise<Batch> {
  const windows =
    lease.kind === "train"
      ? trainWindows(config, lease.step, lease.index)
      : evaluationWindows(config, lease.index);
  const { context } = config.model;
  const texts = await Promise.all(
    windows.map((window) => read(window.start, context + 1)),
  );
  const tokens = new Int32Array(windows.length * context);
  const targets = new Int32Array(windows.length * context);
  for (const [sequence, text] of texts.entries()) {
    const first = sequence * context;
    tokens.set(text.subarray(0, context), first);
    targets.set(text.subarray(1), first);
    targets.fill(IGNORED_TARGET, first, first + windows[sequence]!.skipped);
  }
  return { sequences: windows.length, tokens, targets };
}

/** A microbatch's loss as reported to the run; `lengths` has the number of text bytes of each id. */
export function toldLoss(
  { lossSum, tokens }: { lossSum: number; tokens: number },
  batch: Batch,
  lengths: ArrayLike<number>,
): LossSum {
  const bytes = countedBytes(batch, lengths);
  return { lossSum: Number.isFinite(lossSum) ? lossSum : null, tokens, bytes };
}

/** Text bytes of the targets that a microbatch's loss is summed over. */
export function countedBytes(
  { targets }: Pick<Batch, "targets">,
  lengths: ArrayLike<number>,
): number {
  let bytes = 0;
  for (const target of targets)
    if (target !== IGNORED_TARGET) bytes += lengths[target]!;
  return bytes;
}

/** Windows that cover every held-out target; a split of n tokens has n − 1 targets. */
function heldOutWindows({ dataset, model }: RunConfig): number {
  const { heldOut } = splitTokens(dataset.tokens);
  return Math.ceil((heldOut.length - 1) / model.context);
}

function drawWords(key: NoiseKey, length: number): number[] {
  const { arena, exports } = kernels();
  return arena.scope(() => {
    const words = arena.alloc(4 * length);
    exports.fillNoise(words, length, key[0], key[1], 0);
    return Array.from(arena.i32(words, length), (word) => word >>> 0);
  });
}

/** ⌊word · range / 2^32⌋, exactly: a whole number below `range` from a 32-bit word. */
export function multiplyHigh(word: number, range: number): number {
  return Number((BigInt(word) * BigInt(range)) >> 32n);
}
