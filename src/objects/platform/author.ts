/**
 * Authors of results. A join token is one author, however many trainers use it. Each of the owner's trainers is an
 * author, since only the owner can name them. A lease has a key that only its author has, and that must be sent with
 * the push and the completion.
 */
import { hex } from "../../api/digest.ts";
import { AppError } from "../../api/errors.ts";
import type { LeaseKind } from "../../api/lease.ts";
import { isSigned, sign } from "./signature.ts";

/**
 * The caller with the API_TOKEN, or on this machine in local mode. Other callers are named by the id of their join
 * token.
 */
export const OWNER = "owner";

/** Keys of a run, made when it is created, so another run with the same id has other keys. */
export type RunKeys = {
  /** Part of the ids of the run's join tokens. */
  creation: string;
  /** Signs the run's lease keys. */
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

/** Errors: `unauthorized` if the join token belongs to an earlier run with this id */
export function checkCreation(keys: RunKeys, caller: string): void {
  if (caller === OWNER || caller.startsWith(`${keys.creation}-`)) return;
  throw new AppError(
    "unauthorized",
    "Expected a join token of the run that has this id now, got one of a run that was removed",
  );
}

/**
 * Makes a lease's key. It includes the run's `subtree`, which tells where pushes go; the object that receives them
 * checks it. `exclusions` is how often the author was excluded before the lease: its earlier pushes are void.
 */
export async function leaseKey(
  { secret }: RunKeys,
  author: string,
  leased: Leased,
  subtree?: number,
  exclusions = 0,
): Promise<string> {
  const times = exclusions > 0 ? `${exclusions}` : "";
  const signature = await sign(secret, claimOf(author, leased, times));
  return [author, signature, subtree ?? "", times].join(":").replace(/:+$/, "");
}

/** The run's `subtree` in a lease key. */
export function subtreeOfKey(key: string): number | undefined {
  const [, , subtree] = key.split(":");
  return subtree ? Number(subtree) : undefined;
}

/** How often its author was excluded before a lease, from its verified key. */
export function exclusionsOfKey(key: string): number {
  const [, , , exclusions] = key.split(":");
  return Number(exclusions ?? 0);
}

/** The author to whom a lease key was issued. Errors: `no_lease` */
export async function authorOfKey(
  { secret }: RunKeys,
  caller: string,
  leased: Leased,
  key: string | undefined,
): Promise<string> {
  const [author = "", signature = "", , times = ""] = key?.split(":") ?? [];
  // A shard of an earlier release has no secret until the run sends it.
  const isCallers =
    secret !== "" && (caller === OWNER ? isOwners(author) : author === caller);
  const claim = claimOf(author, leased, times);
  if (isCallers && (await isSigned(secret, claim, signature))) return author;
  const { kind, step, index } = leased;
  throw new AppError(
    "no_lease",
    `Expected \`Lease-Key\` to be the key of a lease of ${kind} microbatch ${index} of step ${step} that the caller's token holds, got ${key === undefined ? "none" : "another"}`,
  );
}

/** Checks that keys verified before an `await` are still valid. Errors: `no_lease` */
export function checkUnchanged(before: RunKeys, now: RunKeys): void {
  if (now.secret === before.secret) return;
  throw new AppError(
    "no_lease",
    "Expected a valid lease key, got one that became void during the request",
  );
}

function claimOf(
  author: string,
  { kind, step, index }: Leased,
  times: string,
): string {
  const claim = `${author}/${kind}/${step}/${index}`;
  return times === "" ? claim : `${claim}/${times}`;
}

function randomHex(bytes: number): string {
  return hex(crypto.getRandomValues(new Uint8Array(bytes)));
}
