/** What `npm run bench` can be told. */
import type { ArgsDef, ParsedArgs } from "citty";
import { type Runtime, RUNTIMES } from "./result.ts";
import { type Variant, VARIANTS } from "./variant.ts";
import { oneOf, valued } from "../src/cli/argument.ts";

export const benchArgs = {
  only: valued(
    "PATTERN",
    "Only names with this in them, or with * of this form; baselines come along",
    "",
  ),
  runtime: oneOf(RUNTIMES, "Only in this runtime"),
  variant: oneOf(
    VARIANTS,
    "Force this form of the integer dot (default: what the probe chooses)",
  ),
  peers: {
    type: "boolean",
    default: true,
    description: "Measure the peers too",
    negativeDescription: "Leave the peers out, and what is taken to them",
  },
  profile: {
    type: "boolean",
    default: false,
    description:
      "Also take the steps apart: seconds by kernel, in node, beside its bound",
  },
  rounds: valued("N", "Samples of each benchmark", "21"),
  json: valued("FILE", "Write machine and results to this file"),
  markdown: valued("FILE", "Write tables between the bench marks of this page"),
  from: valued(
    "FILE",
    "Measure nothing: take the results from what --json wrote",
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
