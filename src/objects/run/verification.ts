/** How many authors must come to the same in a microbatch, and what draws whom the run asks. */
import type { LeaseKind } from "../../api/lease.ts";
import type { RunConfig } from "../../api/run-config.ts";
import type { RunKeys } from "../platform/author.ts";
import { drawn } from "../platform/signature.ts";

/** Where there is a `seed`, from 0 to 1, others than the first are drawn by it (second-draw.ts). */
export type Verification = { required: number; seed: number | null };

/**
 * `redundancy`, or two at least where the run's secret has chosen the microbatch. It is asked when a first author
 * has told what the microbatch came to: until then nobody can see which it is, nor who else is asked.
 */
export async function verificationOf(
  { verify = 0, redundancy = 1 }: Pick<RunConfig, "verify" | "redundancy">,
  { secret }: RunKeys,
  { kind, step, index }: { kind: LeaseKind; step: number; index: number },
): Promise<Verification> {
  const of = `${kind}/${step}/${index}`;
  const isChosen = async () =>
    verify > 0 && (await drawn(secret, `verify/${of}`)) < verify;
  const required = redundancy === 1 && (await isChosen()) ? 2 : redundancy;
  const seed = required > 1 ? await drawn(secret, `second/${of}`) : null;
  return { required, seed };
}
