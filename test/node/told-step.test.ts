/** A step as a run tells it, held against what it comes to and against the step before: whoever tells it may tell each field falsely. */
import { expect, test } from "vitest";
import type { StepMetrics, StepRecord } from "../../src/api/run-metrics.ts";
import { isCommitOf, isLinked } from "../../src/cli/told-step.ts";
import type { ReplayedStep } from "../../src/training/replayed-run.ts";
import { nextLink } from "../../src/training/results-digest.ts";

const BEFORE = {
  results: "results before",
  chain: "chain before",
  tokens: 640,
};
const MICROBATCHES = [0, 1].map((index) => ({
  index,
  lossSum: 64 * (index + 2),
  tokens: 64,
  bytes: 128,
  digests: [`${index} a`, `${index} b`],
  authors: ["one", "two"],
}));
const UPDATE = {
  step: 7,
  clipCoefficient: 0.5,
  learningRates: { matrix: 0.03, embedding: 0.02, vector: 0.01 },
};

/** A step that follows from `BEFORE`, and its line of the metrics. */
async function told(): Promise<{
  record: StepRecord & { commit: NonNullable<StepRecord["commit"]> };
  metrics: StepMetrics;
}> {
  const { step, ...update } = UPDATE;
  const gradNorm = 2;
  const link = await nextLink(BEFORE, MICROBATCHES, UPDATE, gradNorm);
  const { results, chain } = BEFORE;
  const before = { results, chain };
  return {
    record: {
      step,
      microbatches: structuredClone(MICROBATCHES),
      commit: structuredClone({ ...update, gradNorm, ...link, before }),
    },
    metrics: {
      step,
      trainLoss: 2.5,
      gradNorm,
      learningRate: 0.03,
      tokens: 768,
      valLoss: null,
      committedMs: 1,
      trainNatsPerByte: 1.25,
      valNatsPerByte: null,
      ...link,
      phases: null,
    },
  };
}

test("a step as it was told follows from the step before", async () => {
  const { record, metrics } = await told();
  expect(await isLinked(record, metrics, BEFORE)).toBe(true);
  expect(await isLinked(record, undefined, BEFORE)).toBe(false);
  expect(await isLinked({ ...record, commit: null }, metrics, BEFORE)).toBe(
    false,
  );
});

type Told = Awaited<ReturnType<typeof told>>;

test.each<[what: string, change: (told: Told) => void]>([
  ["the step", ({ record }) => (record.step = 8)],
  ["a loss", ({ record }) => (record.microbatches[1]!.lossSum = 193)],
  ["tokens", ({ record }) => (record.microbatches[1]!.tokens = 65)],
  ["bytes", ({ record }) => (record.microbatches[1]!.bytes = 129)],
  ["a digest", ({ record }) => (record.microbatches[1]!.digests[1] = "other")],
  ["an author", ({ record }) => (record.microbatches[1]!.authors[1] = "other")],
  ["an author less", ({ record }) => record.microbatches[1]!.authors.pop()],
  ["a microbatch less", ({ record }) => record.microbatches.pop()],
  ["the norm", ({ record }) => (record.commit.gradNorm = 3)],
  [
    "the norm, twice",
    ({ record, metrics }) => (record.commit.gradNorm = metrics.gradNorm = 3),
  ],
  ["clip", ({ record }) => (record.commit.clipCoefficient = 1)],
  ["a matrix rate", ({ record }) => (record.commit.learningRates.matrix = 1)],
  [
    "a matrix rate, twice",
    ({ record, metrics }) =>
      (record.commit.learningRates.matrix = metrics.learningRate = 1),
  ],
  [
    "an embedding rate",
    ({ record }) => (record.commit.learningRates.embedding = 1),
  ],
  ["a vector rate", ({ record }) => (record.commit.learningRates.vector = 1)],
  ["results", ({ record }) => (record.commit.results = "other")],
  ["chain", ({ record }) => (record.commit.chain = "other")],
  ["no results", ({ record }) => (record.commit.results = null)],
  [
    "no digests",
    ({ record }) => (record.commit.results = record.commit.chain = null),
  ],
  [
    "no results, twice",
    ({ record, metrics }) => (record.commit.results = metrics.results = null),
  ],
  [
    "no chain, twice",
    ({ record, metrics }) => (record.commit.chain = metrics.chain = null),
  ],
  ["results before", ({ record }) => (record.commit.before.results = "other")],
  ["chain before", ({ record }) => (record.commit.before.chain = "other")],
  ["results in the metrics", ({ metrics }) => (metrics.results = "other")],
  ["chain in the metrics", ({ metrics }) => (metrics.chain = "other")],
  [
    "no digests in the metrics",
    ({ metrics }) => (metrics.results = metrics.chain = null),
  ],
  ["the norm in the metrics", ({ metrics }) => (metrics.gradNorm = 3)],
  ["the rate in the metrics", ({ metrics }) => (metrics.learningRate = 1)],
  ["the loss in the metrics", ({ metrics }) => (metrics.trainLoss = 1)],
  [
    "the loss a byte in the metrics",
    ({ metrics }) => (metrics.trainNatsPerByte = 1),
  ],
  ["the tokens in the metrics", ({ metrics }) => (metrics.tokens = 769)],
])("one that tells %s otherwise does not", async (_what, change) => {
  const changed = await told();
  change(changed);
  const { record, metrics } = changed;
  expect(await isLinked(record, metrics, BEFORE)).toBe(false);
});

test("what follows from another step before does not follow from this one", async () => {
  const { record, metrics } = await told();
  for (const other of [{ results: "" }, { chain: "" }, { tokens: 641 }])
    expect(await isLinked(record, metrics, { ...BEFORE, ...other })).toBe(
      false,
    );
});

test.each<[what: string, change: (told: Told["record"]) => void]>([
  ["a norm", ({ commit }) => (commit.gradNorm = 3)],
  ["a clip", ({ commit }) => (commit.clipCoefficient = 1)],
  ["a matrix rate", ({ commit }) => (commit.learningRates.matrix = 1)],
  ["an embedding rate", ({ commit }) => (commit.learningRates.embedding = 1)],
  ["a vector rate", ({ commit }) => (commit.learningRates.vector = 1)],
])("a commit is not of %s that is not computed", async (_what, change) => {
  const { record } = await told();
  const computed = { gradNorm: 2, update: UPDATE } as ReplayedStep;
  expect(isCommitOf(record, computed)).toBe(true);
  expect(isCommitOf({ ...record, commit: null }, computed)).toBe(false);
  change(record);
  expect(isCommitOf(record, computed)).toBe(false);
});
