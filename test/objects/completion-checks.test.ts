/** Each thing for which a completion is refused, alone. */
import { expect, test } from "vitest";
import type { Completion, LeaseKind } from "../../src/api/lease.ts";
import {
  checkCounts,
  checkLeasedMicrobatch,
  checkOpen,
  readTold,
} from "../../src/objects/run/completion-checks.ts";
import type { RunRecord } from "../../src/objects/run/run-store.ts";
import { completeConfig } from "../../src/training/config.ts";
import {
  countedTokens,
  evaluationMicrobatches,
} from "../../src/training/data.ts";
import { runRequestSchema } from "../../src/training/run-request.ts";

const STEPS = 5;
const MOST_NATS = 3.4028234663852886e38;

function configOf(tokenizer: "byte" | "bpe") {
  const vocabulary = tokenizer === "byte" ? 256 : 512;
  const dataset = {
    name: "text",
    digest: "0".repeat(64),
    tokens: 100_000,
    tokenizer,
    vocabulary,
  };
  const request = {
    dataset: "text",
    steps: STEPS,
    shards: 2,
    evaluation: { interval: 2 },
  };
  return completeConfig(runRequestSchema().parse(request), dataset);
}

const config = configOf("byte");
const pieces = configOf("bpe");
const tokens = countedTokens(config, "train", 0);
const whole = {
  lossSum: 64,
  tokens,
  bytes: tokens,
  digests: ["a", "b"],
} as unknown as Completion;

const invalid = { code: "invalid_number" };

test.each<[LeaseKind, number, number, number]>([
  ["train", 0, config.microbatches, config.microbatches],
  ["train", STEPS - 1, config.microbatches, config.microbatches],
  ["train", STEPS, 0, 0],
  [
    "eval",
    0,
    evaluationMicrobatches(config, 0),
    evaluationMicrobatches(config, 0),
  ],
  ["eval", 1, 0, 0],
])(
  "%s of step %i: there is none with index %i, of %i",
  (kind, step, index, count) => {
    expect(() => checkLeasedMicrobatch(config, kind, step, index)).toThrow(
      `one of the ${count} ${kind}`,
    );
    if (count > 0) checkLeasedMicrobatch(config, kind, step, count - 1);
  },
);

test.each([
  ["a token less", { tokens: tokens - 1 }],
  ["a token more", { tokens: tokens + 1 }],
  ["a byte less", { bytes: tokens - 1 }],
  ["a byte more", { bytes: tokens + 1 }],
  ["a loss below zero", { lossSum: -1e-300 }],
  ["a loss beyond f32", { lossSum: tokens * MOST_NATS * (1 + 2 ** -52) }],
  ["a loss that is no number", { lossSum: Number.NaN }],
])("%s", (_what, changed) => {
  const told = readTold(config, "train", whole);
  const check = (changed: object) =>
    checkCounts(config, "train", 0, { ...told, ...changed }, tokens);
  expect(() => check(changed)).toThrow(expect.objectContaining(invalid));
  for (const lossSum of [0, null, tokens * MOST_NATS]) check({ lossSum });
});

test("as many digests as frames were pushed, and bytes where tokens are not bytes", () => {
  const read = (of: typeof config, kind: LeaseKind, changed: object) => () =>
    readTold(of, kind, { ...whole, ...changed });
  const shape = expect.objectContaining({ code: "shape_mismatch" }) as object;
  expect(read(config, "train", { digests: ["a"] })).toThrow(shape);
  expect(read(config, "train", { digests: ["a", "b", "c"] })).toThrow(shape);
  expect(read(config, "train", { digests: undefined })).toThrow(shape);
  expect(read(config, "eval", {})).toThrow(shape);
  expect(read(config, "eval", { digests: undefined })()).toMatchObject({
    digests: [],
  });

  const number = expect.objectContaining(invalid) as object;
  expect(read(config, "train", { bytes: undefined })()).toMatchObject({
    bytes: tokens,
  });
  expect(read(pieces, "train", { bytes: undefined })).toThrow(number);
  for (const each of [config, pieces])
    expect(read(each, "train", { bytes: tokens + 1 })()).toMatchObject({
      bytes: tokens + 1,
    });
});

test.each([
  ["cancelled", 2, "run_ended"],
  ["running", 3, "future_step"],
  ["running", 1, "step_gone"],
])(
  "of a run that is %s at step 2, one of step %i is refused as %s",
  (state, step, code) => {
    const record = { state, step: 2 } as RunRecord;
    expect(() => checkOpen(record, step)).toThrow(
      expect.objectContaining({ code }),
    );
    checkOpen({ ...record, state: "paused" }, 2);
  },
);
