/**
 * Whose a result is. A join token is one author, however many trainers it has; each of the owner's trainers is
 * one, since nobody else can name them. A lease bears a key that is its author's and only its: who pushes or
 * completes shows it.
 */
import { hex } from "../../api/digest.ts";
import { AppError } from "../../api/errors.ts";
import type { LeaseKind } from "../../api/lease.ts";
import { isSigned, sign } from "./signature.ts";

/** The caller who has the API_TOKEN, or is on this machine in local mode; others are called by their join token's id. */
export const OWNER = "owner";

/** A run's own, made when it is created: another run of the same id has others. */
export type RunKeys = {
  /** Stands in the ids of its join tokens. */
  creation: string;
  /** Signs the keys of its leases. */
  secret: string;
};

type Leased = { kind: LeaseKind; step: number; index: number };

export function newRunKeys(): RunKeys {
  return { creation: randomHex(6), secret: randomHex(32) };
}

export function authorOf(caller: string, trainer: string): string {
  return caller === OWNER ? `${OWNER}.${trainer}` : caller;
}

export function isOwners(author: string): boolean {
  return author.startsWith(`${OWNER}.`);
}

/** The id of a run's `n`th join token. */
export function tokenId({ creation }: RunKeys, n: number): string {
  return `${creation}-${n}`;
}

/** Errors: `unauthorized`, the join token is of a run that had this id before */
export function checkCreation(keys: RunKeys, caller: string): void {
  if (caller === OWNER || caller.startsWith(`${keys.creation}-`)) return;
  throw new AppError(
    "unauthorized",
    "Expected a join token of the run that has this id now, got one of a run that was removed",
  );
}

/** `subtree`, where the run has one, tells where pushes go: whoever takes them knows whether it is so. */
export async function leaseKey(
  { secret }: RunKeys,
  author: string,
  leased: Leased,
  subtree?: number,
): Promise<string> {
  const key = `${author}:${await sign(secret, claimOf(author, leased))}`;
  return subtree === undefined ? key : `${key}:${subtree}`;
}

/** The run's `subtree`, as a key tells it. */
export function subtreeOfKey(key: string): number | undefined {
  const [, , subtree] = key.split(":");
  return subtree === undefined ? undefined : Number(subtree);
}

/** The author of the lease that `key` is of. Errors: `no_lease` */
export async function authorOfKey(
  { secret }: RunKeys,
  caller: string,
  leased: Leased,
  key: string | undefined,
): Promise<string> {
  const [author = "", signature = ""] = key?.split(":") ?? [];
  // A shard of an earlier release has no secret until the run tells it.
  const isCallers =
    secret !== "" && (caller === OWNER ? isOwners(author) : author === caller);
  if (isCallers && (await isSigned(secret, claimOf(author, leased), signature)))
    return author;
  const { kind, step, index } = leased;
  throw new AppError(
    "no_lease",
    `Expected \`Lease-Key\` to be the key of a lease of ${kind} microbatch ${index} of step ${step} that the caller's token holds, got ${key === undefined ? "none" : "another"}`,
  );
}

/** Of a key that was looked at before something was waited for. Errors: `no_lease` */
export function checkUnchanged(before: RunKeys, now: RunKeys): void {
  if (now.secret === before.secret) return;
  throw new AppError(
    "no_lease",
    "Expected the key of a lease, got one that has become void meanwhile",
  );
}

function claimOf(author: string, { kind, step, index }: Leased): string {
  return `${author}/${kind}/${step}/${index}`;
}

function randomHex(bytes: number): string {
  return hex(crypto.getRandomValues(new Uint8Array(bytes)));
}
