/**
 * The memory of an isolate that the pushes of one author may hold at a time. Without a bound, one that opens many pushes and
 * sends each slowly would hold all of it, and nobody else's would be read.
 */
import { AppError } from "../../api/errors.ts";
import { Ledger, type Reservation } from "../../memory/ledger.ts";
import { MAX_FRAME_BYTES } from "./frame-body.ts";

const LIMITS = {
  totalBytes: 2 * MAX_FRAME_BYTES,
  keptBytes: 0,
  requestBytes: 0,
  smallBytes: 0,
};
const MAX_WAITING = 64;

const shares = new Map<string, Ledger>();

/** Waits until a push of `bytes` is within its author's share. Errors: `overloaded` if many wait; `unavailable` */
export async function reserveOfShare(
  author: string,
  bytes: number,
): Promise<Reservation> {
  for (const [other, { heldBytes, waiting }] of shares)
    if (heldBytes === 0 && waiting === 0) shares.delete(other);
  const share = shares.get(author) ?? new Ledger(LIMITS);
  shares.set(author, share);
  if (share.waiting < MAX_WAITING) return share.reserve(bytes);
  throw new AppError(
    "overloaded",
    `Expected at most ${MAX_WAITING} pushes of "${author}" to wait, got more; repeat the request`,
  );
}
