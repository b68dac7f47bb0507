/**
 * The models of this isolate that write text. While one is used its weights are reserved; afterwards they are kept, as a
 * cache that goes when somebody needs the room, so that the next request need not read them again.
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
/** An isolate has 128 MiB, of which keys and values, activations and all the rest take theirs. */
const MAX_WEIGHT_BYTES = 76 * MIB;
const PAUSE_MS = 20;
/** Who has given no sign for so long is gone: a request whose client left is not told. */
const STALE_MS = 5_000;

type Loaded = TextModel & { weights: PanelWeights };
type Entry = {
  bytes: number;
  /** Not yet while it is read. */
  model: Loaded | undefined;
  reservation: Reservation;
  /** When each of those that use it gave its last sign of life. */
  users: Map<symbol, number>;
};

/** A model in use. */
export type InUse = {
  model: Loaded;
  /** A sign of life. */
  touch(): void;
  release(): void;
};

const entries = new Map<string, Entry>();

/**
 * The model of this key, loaded unless it is there. Errors: `invalid_config` where its weights do not fit an isolate;
 * `unavailable`; those of loading it
 */
export async function useModel(
  key: string,
  opened: OpenedModel,
  format: WeightFormat,
): Promise<InUse> {
  const user = Symbol();
  // A timer, not a promise of the request that loads it: requests may not wait for those.
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

/** Of weights, and of a tokenizer that others made. Errors: `invalid_config`, they are more than fit */
async function bytesOf(
  { decoder, tokenizerBytes }: OpenedModel,
  format: WeightFormat,
): Promise<number> {
  const weights = weightBytes(decoder, format);
  // Weights alone may be too large: then no tokenizer is read.
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
    return false; // its rows are no whole blocks
  }
}
