/** How many authors must come to the same in a microbatch. */
import type { LeaseKind } from "../../api/lease.ts";
import type { RunConfig } from "../../api/run-config.ts";
import type { RunKeys } from "../platform/author.ts";
import { drawn } from "../platform/signature.ts";

/**
 * `redundancy`, or two at least where the run's secret has chosen the microbatch. It is asked when a first author
 * has told what the microbatch came to: until then nobody can see which it is.
 */
export async function requiredAuthors(
  { verify = 0, redundancy = 1 }: Pick<RunConfig, "verify" | "redundancy">,
  { secret }: RunKeys,
  { kind, step, index }: { kind: LeaseKind; step: number; index: number },
): Promise<number> {
  if (verify === 0 || redundancy > 1) return redundancy;
  const chance = await drawn(secret, `verify/${kind}/${step}/${index}`);
  return chance < verify ? 2 : 1;
}
