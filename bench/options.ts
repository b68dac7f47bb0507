/** What `npm run bench` can be told. */
import type { ArgsDef, ParsedArgs } from "citty";
import { type Runtime, RUNTIMES } from "./result.ts";
import { type Variant, VARIANTS } from "./variant.ts";

export const benchArgs = {
  only: {
    type: "string",
    valueHint: "PATTERN",
    default: "",
    description:
      "Only names with this in them, or with * of this form; baselines come along",
  },
  runtime: {
    type: "enum",
    options: [...RUNTIMES],
    description: "Only in this runtime",
  },
  variant: {
    type: "enum",
    options: [...VARIANTS],
    description:
      "Force this form of the integer dot (default: what the probe chooses)",
  },
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
  rounds: {
    type: "string",
    valueHint: "N",
    default: "21",
    description: "Samples of each benchmark",
  },
  json: {
    type: "string",
    valueHint: "FILE",
    description: "Write machine and results to this file",
  },
  markdown: {
    type: "string",
    valueHint: "FILE",
    description: "Write tables between the bench marks of this page",
  },
  from: {
    type: "string",
    valueHint: "FILE",
    description: "Measure nothing: take the results from what --json wrote",
  },
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
