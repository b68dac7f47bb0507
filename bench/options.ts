/** What `npm run bench` can be told. */
import type { ArgsDef, ParsedArgs } from "citty";
import { type Runtime, RUNTIMES } from "./result.ts";
import { type Variant, VARIANTS } from "./variant.ts";
import { oneOf, valued } from "../src/cli/argument.ts";

export const benchArgs = {
  only: valued(
    "PATTERN",
    "Only benchmarks whose name contains this, or matches it with *; their baselines are included",
    "",
  ),
  runtime: oneOf(RUNTIMES, "Only this runtime"),
  variant: oneOf(
    VARIANTS,
    "Force this variant of the integer dot product (default: chosen by a probe)",
  ),
  peers: {
    type: "boolean",
    default: true,
    description: "Measure the peers too",
    negativeDescription:
      "Skip the other libraries, and what is measured for comparison with them",
  },
  profile: {
    type: "boolean",
    default: false,
    description:
      "Also profile the training steps: seconds by kernel, in Node, beside their lower bounds",
  },
  rounds: valued("N", "Samples per benchmark", "21"),
  json: valued("FILE", "Write the machine and the results to this file"),
  markdown: valued(
    "FILE",
    "Write the tables into this page, between its bench markers",
  ),
  from: valued(
    "FILE",
    "Measure nothing; read the results from a file that --json wrote",
  ),
} as const satisfies ArgsDef;

export type Asked = {
  only: string;
  runtimes: readonly Runtime[];
  variant: Variant | undefined;
  peers: boolean;
  profile: boolean;
  rounds: number;
  json: string | undefined;
  markdown: string | undefined;
  from: string | undefined;
};

/** Throws on an argument that means nothing. */
export function askedFrom(args: ParsedArgs<typeof benchArgs>): Asked {
  const rounds = Number(args.rounds);
  if (!Number.isSafeInteger(rounds) || rounds < 1) {
    throw new Error(
      `Expected --rounds to be a whole number from 1, got "${args.rounds}"`,
    );
  }
  return {
    only: args.only,
    runtimes: args.runtime ? [args.runtime] : RUNTIMES,
    variant: args.variant,
    peers: args.peers,
    profile: args.profile,
    rounds,
    json: args.json,
    markdown: args.markdown,
    from: args.from,
  };
}
