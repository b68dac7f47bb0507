/**
 * The isolate's models for text generation. A model's memory is reserved while it is used; afterwards it stays cached
 * until others need the memory, so that the next request need not load it again.
 */
import { AppError } from "../../api/errors.ts";
import type { OpenedModel } from "../../generation/open-model.ts";
import {
  type PanelWeights,
  weightBytes,
} from "../../generation/panel-weights.ts";
import type { TextModel } from "../../generation/writer.ts";
import type { WeightFormat } from "../../kernels/decode.ts";
import { isolateMemory, type Reservation } from "../../memory/ledger.ts";

const MIB = 2 ** 20;
/** Of the isolate's 128 MiB; the rest is for keys and values, activations and everything else. */
const MAX_WEIGHT_BYTES = 76 * MIB;
const PAUSE_MS = 20;
/** A user without a sign of life for this long is considered gone: a request is not told that its client left. */
const STALE_MS = 5_000;

type Loaded = TextModel & { weights: PanelWeights };
type Entry = {
  bytes: number;
  /** Undefined while loading. */
  model: Loaded | undefined;
  reservation: Reservation;
  /** When each user last gave a sign of life. */
  users: Map<symbol, number>;
};

/** A model in use. */
export type InUse = {
  model: Loaded;
  /** Gives a sign of life. */
  touch(): void;
  release(): void;
};

const entries = new Map<string, Entry>();

/**
 * The model with this key, loaded if necessary. Errors: `invalid_config` if its weights do not fit an isolate;
 * `unavailable`; those of loading it
 */
export async function useModel(
  key: string,
  opened: OpenedModel,
  format: WeightFormat,
): Promise<InUse> {
  const user = Symbol();
  // Polls with a timer: a request must not await a promise of another request.
  for (let entry = entries.get(key); entry; entry = entries.get(key)) {
    forgetStale(entry);
    if (entry.model) return reuse(key, entry, user);
    if (entry.users.size === 0) entries.delete(key);
    else await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  const bytes = await bytesOf(opened, format);
  const entry: Entry = {
    bytes,
    model: undefined,
    reservation: await isolateMemory.reserve(bytes),
    users: new Map([[user, Date.now()]]),
  };
  const use = inUse(key, entry, user);
  entries.set(key, entry);
  try {
    entry.model = await opened.load(format, use.touch);
  } catch (error) {
    if (entries.get(key) === entry) entries.delete(key);
    entry.reservation.release();
    throw error;
  }
  return { ...use, model: entry.model };
}

async function reuse(key: string, entry: Entry, user: symbol): Promise<InUse> {
  const isKept = entry.users.size === 0;
  entry.users.set(user, Date.now());
  if (isKept) {
    isolateMemory.letGo(key);
    entry.reservation = await isolateMemory.reserve(entry.bytes);
  }
  return { ...inUse(key, entry, user), model: entry.model! };
}

function inUse(
  key: string,
  entry: Entry,
  user: symbol,
): Pick<InUse, "touch" | "release"> {
  return {
    touch() {
      entry.users.set(user, Date.now());
      entry.reservation.touch();
    },
    release() {
      entry.users.delete(user);
      if (entry.users.size > 0) return;
      entry.reservation.release();
      isolateMemory.keep(key, entry.bytes, () => drop(key, entry));
    },
  };
}

function drop(key: string, entry: Entry): void {
  if (entries.get(key) === entry) entries.delete(key);
  entry.model?.weights.free();
}

function forgetStale({ users }: Entry): void {
  const now = Date.now();
  for (const [user, touched] of users)
    if (now - touched > STALE_MS) users.delete(user);
}

/** Memory of weights and of a foreign tokenizer. Errors: `invalid_config` if it exceeds the limit */
async function bytesOf(
  { decoder, tokenizerBytes }: OpenedModel,
  format: WeightFormat,
): Promise<number> {
  const weights = weightBytes(decoder, format);
  // If the weights alone are too large, the tokenizer is not read.
  const tokenizer = weights > MAX_WEIGHT_BYTES ? 0 : await tokenizerBytes();
  if (weights + tokenizer <= MAX_WEIGHT_BYTES) return weights + tokenizer;
  const isPacked = format === "mxfp4";
  const takesIt = !isPacked && fits(decoder, tokenizer);
  const hint = takesIt ? "; `weights` mxfp4 takes it" : "";
  const beside = tokenizer > 0 ? `, and ${tokenizer} for its tokenizer` : "";
  throw new AppError(
    "invalid_config",
    `Expected weights of at most ${MAX_WEIGHT_BYTES} bytes in one isolate, got ${weights} in ${format}${beside}${hint}`,
  );
}

function fits(decoder: OpenedModel["decoder"], tokenizer: number): boolean {
  try {
    return weightBytes(decoder, "mxfp4") + tokenizer <= MAX_WEIGHT_BYTES;
  } catch {
    return false; // its rows are not multiples of 32
  }
}
