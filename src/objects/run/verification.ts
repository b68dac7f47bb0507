/** How many authors must agree on a microbatch, and how further authors are drawn. */
import type { LeaseKind } from "../../api/lease.ts";
import type { RunConfig } from "../../api/run-config.ts";
import type { RunKeys } from "../platform/author.ts";
import { drawn } from "../platform/signature.ts";

/** With a `seed` in [0, 1), the authors after the first are drawn with it (second-draw.ts). */
export type Verification = { required: number; seed: number | null };

/**
 * `redundancy`, or 2 if the run's secret chooses the microbatch for verification. Called when the first result is in:
 * before, nobody can know which microbatches are chosen, or who will be asked.
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
