/** Two runs held against each other, as their edges tell of them. */
import { expect, test } from "vitest";
import type { StepRecord } from "../../src/api/run-metrics.ts";
import { compareRuns } from "../../src/cli/compared-runs.ts";
import type { RunClient } from "../../src/client/run-client.ts";

const STEPS = 6;
const MICROBATCHES = [0, 1, 2, 3];
const FALSE_STEP = 4;

type Lie = { index: number; of: "loss" | "gradient" } | "commit";

/** A run of so many shards; from the step on at which somebody lies, its results are others. */
function runOf(shards: number, lie?: Lie): RunClient {
  const results = (step: number): string =>
    step < FALSE_STEP || !lie ? `true ${step}` : `false ${step}`;
  const record = (step: number): StepRecord => ({
    step,
    microbatches: MICROBATCHES.map((index) => {
      const lies =
        step >= FALSE_STEP && typeof lie === "object" && lie.index === index;
      return {
        index,
        lossSum: lies && lie.of === "loss" ? 0 : 10 * step + index,
        tokens: 64,
        bytes: 64,
        digests: Array.from(
          { length: shards },
          (_, shard) => `${shard} of ${shards}${lies ? ", a lie" : ""}`,
        ),
        authors: [`author ${index}`],
      };
    }),
    commit: {
      gradNorm: 1,
      clipCoefficient: 1,
      learningRates: { matrix: 1, embedding: 1, vector: 1 },
      results: results(step),
      chain: "",
      before: { results: results(step - 1), chain: "" },
    },
  });
  return {
    status: () => Promise.resolve({ step: STEPS, config: { shards } }),
    step: (step: number) => Promise.resolve(record(step)),
  } as unknown as RunClient;
}

test.each([
  ["the loss", 2, { index: 1, of: "loss" }, [1], {}],
  ["a gradient", 2, { index: 2, of: "gradient" }, [2], {}],
  ["the loss, of other shards", 3, { index: 1, of: "loss" }, [1], {}],
  // Whoever is honest has other digests there.
  [
    "a gradient, of other shards",
    3,
    { index: 2, of: "gradient" },
    [],
    { gradient: true },
  ],
  ["the commit", 2, "commit", [], { commit: true }],
] as const)(
  "the first false step is found, and whose: %s",
  async (_what, shards, lie, liars, also) => {
    const found = await compareRuns(runOf(shards, lie), runOf(2));
    const microbatches = liars.map((index) => ({
      index,
      authors: [`author ${index}`],
    }));
    const first = { step: FALSE_STEP, microbatches, ...also };
    expect(found).toEqual({ last: STEPS - 1, first });
  },
);

test("runs of other shards that agree have nothing false", async () => {
  expect(await compareRuns(runOf(3), runOf(2))).toEqual({
    last: STEPS - 1,
    first: null,
  });
});
