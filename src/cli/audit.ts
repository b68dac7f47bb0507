/**
 * Whether a run came to what another of the same config came to, step by step. What a step comes to is a pure function
 * of the config, and each commit's `results` holds all before it: so from the first false step on all differ, and
 * it is found by halving.
 */
import { type ArgsDef, defineCommand } from "citty";
import type { StepRecord } from "../api/types.ts";
import { Client } from "../client/client.ts";
import type { RunClient } from "../client/run-client.ts";
import { edgeArguments, runArgument, runOf, whole } from "./edge-arguments.ts";
import { checkArguments, UsageError } from "./file-arguments.ts";

const args = {
  ...runArgument,
  against: {
    type: "string",
    required: true,
    valueHint: "RUN",
    description:
      "A run of the same config whose trainers you trust, as far as it is",
  },
  "against-url": {
    type: "string",
    valueHint: "URL",
    description: "The edge that it is on (default: the same)",
  },
  "against-token": {
    type: "string",
    valueHint: "TOKEN",
    description: "The API_TOKEN there",
  },
  step: {
    type: "string",
    valueHint: "S",
    description: "The last step to look at (default: the last of both)",
  },
  ...edgeArguments,
} satisfies ArgsDef;

/** What a step came to in both runs; `null` where they agree up to the last one that was looked at. */
export type Audit = {
  /** Steps 0 to this one were looked at. */
  last: number;
  first: {
    step: number;
    /** Those that differ, with who told of them in the run that is audited. */
    microbatches: { index: number; authors: string[] }[];
  } | null;
};

export const auditCommand = defineCommand({
  meta: {
    name: "audit",
    description:
      "Find the first step of a run that is false, and whose, against a run that was computed again",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const audited = runOf(given);
    const against = given.against as string;
    const url = given["against-url"] as string | undefined;
    const trusted =
      url === undefined
        ? runOf({ ...given, run: against })
        : new Client({
            baseUrl: url,
            token: given["against-token"] as string | undefined,
          }).run(against);
    const step =
      given.step === undefined ? undefined : whole("step", given.step, 0);
    const found = await audit(audited, trusted, step);
    if (given.json) console.log(JSON.stringify(found, null, 2));
    else console.log(render(found));
    if (found.first) process.exitCode = 1;
  },
});

/** Errors: `UsageError`, the runs cannot be compared */
export async function audit(
  audited: RunClient,
  trusted: RunClient,
  asked = Infinity,
): Promise<Audit> {
  const [one, other] = await Promise.all([audited.status(), trusted.status()]);
  const last = Math.min(one.step, other.step, asked + 1) - 1;
  if (last < 0) {
    throw new UsageError(
      "Expected two runs that have committed a step, got one that has not",
    );
  }
  const both = async (step: number) => {
    const records = await Promise.all([audited.step(step), trusted.step(step)]);
    return { records, isSame: resultsOf(records[0]) === resultsOf(records[1]) };
  };
  const { records: first } = await both(0);
  if (first[0].commit!.before.results !== first[1].commit!.before.results) {
    throw new UsageError(
      "Expected two runs of one config, got runs of which no step could be the same",
    );
  }
  if ((await both(last)).isSame) return { last, first: null };
  // Steps below `low` are the same, `high` is not.
  let [low, high] = [0, last];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((await both(middle)).isSame) low = middle + 1;
    else high = middle;
  }
  const { records } = await both(high);
  return { last, first: { step: high, microbatches: differing(...records) } };
}

function resultsOf({ step, commit }: StepRecord): string {
  if (commit?.results) return commit.results;
  throw new UsageError(
    `Expected steps whose commits have digests, got step ${step} of an earlier release`,
  );
}

/** By their sums; and by their gradients, where both runs have as many shards. */
function differing(
  audited: StepRecord,
  trusted: StepRecord,
): { index: number; authors: string[] }[] {
  const text = (at: number, { microbatches }: StepRecord) => {
    const { lossSum, tokens, bytes, digests } = microbatches[at]!;
    return JSON.stringify([lossSum, tokens, bytes, digests]);
  };
  return audited.microbatches
    .filter(({ index }) => text(index, audited) !== text(index, trusted))
    .map(({ index, authors }) => ({ index, authors }));
}

function render({ last, first }: Audit): string {
  if (!first) return `steps 0 to ${last} came to the same in both runs`;
  return [
    `step ${first.step} is the first that came to something else`,
    ...first.microbatches.map(
      ({ index, authors }) => `  microbatch ${index} by ${authors.join(", ")}`,
    ),
  ].join("\n");
}
