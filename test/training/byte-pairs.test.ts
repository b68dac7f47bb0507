/** Runs whose tokens are byte pairs: what they are told of losses, and what is refused. */
import { reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { RunRequest } from "../../src/api/run-config.ts";
import type { RunEvent } from "../../src/api/run-metrics.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import {
  countedTokens,
  readBatch,
  splitTokens,
  toldLoss,
} from "../../src/training/data.ts";
import { readTokenizerJson } from "../../src/tokenizers/tokenizer-json.ts";
import { problemOf } from "../http/support.ts";
import {
  callJson,
  clientOf,
  finish,
  outcomeOf,
  TINY,
  worker,
} from "../support/run.ts";

afterEach(reset);

/** Words of one, two and four bytes a character: tokens of many lengths. */
const TEXT = Uint8Array.from(
  Buffer.from(
    Array.from(
      { length: 1500 },
      (_, i) => `${(i * i * 7919) % 99_991} whales, ${i % 7} китов 🐋\n`,
    ).join(""),
  ),
);

async function newDataset() {
  const client = clientOf();
  const name = `pairs-${crypto.randomUUID()}`;
  await client.putDataset(name, TEXT, { tokenizer: "bpe", vocabulary: 512 });
  const dataset = await client.readyDataset(name);
  const tokenizer = readTokenizerJson(await client.tokenizer(name));
  return { dataset, tokenizer, name };
}

async function startRun(changes: Partial<RunRequest> = {}) {
  const all = await newDataset();
  const client = clientOf();
  const request = { ...TINY, dataset: all.name, ...changes };
  const { run, config } = await client.createRun(request);
  return { ...all, run: client.run(run), config };
}

test("losses are told per byte: of all nats, by the bytes of the tokens that they are of", async () => {
  const { run, tokenizer, config } = await startRun();
  expect(config.model.vocabulary).toBe(tokenizer.vocabulary);
  expect(config.dataset).not.toHaveProperty("state");
  await finish(run);
  const ids = tokenizer.encode(new TextDecoder().decode(TEXT));
  const { heldOut } = splitTokens(ids.length);
  const lengths = tokenizer.tokens().map(({ length }) => length);
  /** Of the first held-out targets. */
  const bytesOf = (targets: number) =>
    ids
      .slice(heldOut.start + 1, heldOut.start + 1 + targets)
      .reduce((sum, id) => sum + lengths[id]!, 0);

  const evaluations: (RunEvent & { type: "evaluation" })[] = [];
  for await (const event of run.events())
    if (event.type === "evaluation") evaluations.push(event);
  // Two microbatches of 64 tokens, and in the end all that follow a token that is held out.
  expect(evaluations.map(({ tokens }) => tokens)).toEqual([
    128,
    128,
    heldOut.length - 1,
  ]);
  for (const { tokens, bytes, valLoss, valNatsPerByte } of evaluations) {
    expect(bytes).toBe(bytesOf(tokens));
    expect(valNatsPerByte!).toBeCloseTo((valLoss! * tokens) / bytes, 12);
  }

  const last = evaluations.at(-1)!;
  const status = await run.status();
  expect([status.valLoss, status.valNatsPerByte]).toEqual([
    last.valLoss,
    last.valNatsPerByte,
  ]);
  const metrics = await run.metrics();
  expect(metrics.at(-1)).toMatchObject({ valNatsPerByte: last.valNatsPerByte });
  for (const { trainLoss, trainNatsPerByte } of metrics.slice(0, -1)) {
    // What a step sees is drawn: tokens of two to three bytes each.
    expect(trainLoss! / trainNatsPerByte!).toBeGreaterThan(1.5);
    expect(trainLoss! / trainNatsPerByte!).toBeLessThan(4);
  }
  expect(status.trainNatsPerByte).toBe(metrics.at(-2)!.trainNatsPerByte);
});

test("a checkpoint has the tokenizer, also when the dataset is gone", async () => {
  const { run, tokenizer, name } = await startRun();
  await finish(run);
  const expected = await outcomeOf(run);
  await clientOf().removeDataset(name);
  const { checkpoint } = await outcomeOf(run);
  expect(checkpoint).toEqual(expected.checkpoint);
  const read = readCheckpoint(checkpoint);
  expect(read.tokenizer.merges).toEqual(tokenizer.merges);
  expect(read.config).toMatchObject({ dataset: { tokenizer: "bpe" } });

  // The same text again, in other objects, ends in the same bytes.
  const other = await startRun({ shards: 2 });
  await finish(other.run, ["one", "two"]);
  expect(await outcomeOf(other.run)).toEqual(expected);
});

test("a run takes the vocabulary of its dataset, and no other", async () => {
  const { name, dataset } = await newDataset();
  const { vocabulary } = dataset;
  const create = (model: object) =>
    callJson("POST", "/v1/runs", {
      ...TINY,
      dataset: name,
      model: { ...TINY.model, ...model },
    });
  const { detail } = await problemOf(
    await create({ vocabulary: 256 }),
    422,
    "invalid_config",
  );
  expect(detail).toBe(
    `Expected \`vocabulary\` to be that of dataset "${name}", ${vocabulary}, or left out, got 256`,
  );
  expect((await create({ vocabulary })).status).toBe(201);
});

test("a completion tells the bytes of its tokens, which the run counts itself: of training and evaluation, any others are refused", async () => {
  const { run, tokenizer, config } = await startRun({
    gradientDtype: "f32",
    sequences: 2,
  });
  const ids = Uint16Array.from(
    tokenizer.encode(new TextDecoder().decode(TEXT)),
  );
  const lengths = tokenizer.tokens().map(({ length }) => length);
  const read = (start: number, length: number) =>
    Promise.resolve(ids.subarray(start, start + length));
  const { token } = await run.joinToken();
  const guest = clientOf(worker, token).run(run.run);
  const trainer = { trainer: "one", bootId: "b" };
  const digests = ["0".repeat(64)];
  const open = config.microbatches + config.evaluation.microbatches;
  const seen = new Set<string>();
  for (let { lease } = await guest.lease({ ...trainer, fingerprint: "f" }); ;) {
    seen.add(`${lease!.kind} ${lease!.index}`);
    const batch = await readBatch(config, lease!, read);
    const { tokens, bytes } = toldLoss(
      { lossSum: 64, tokens: countedTokens(config, lease!.kind, lease!.index) },
      batch,
      lengths,
    );
    const told = {
      ...trainer,
      lossSum: 64,
      tokens,
      ...(lease!.kind === "train" && { digests }),
    };
    await expect(guest.complete(lease!, told)).rejects.toThrow(
      "Expected `bytes`, the text bytes of the counted tokens, got none",
    );
    for (const false_ of [tokens, bytes! - 1, bytes! + 1, 10_000])
      await expect(
        guest.complete(lease!, { ...told, bytes: false_ }),
      ).rejects.toMatchObject({
        code: "invalid_number",
        message: `Expected \`bytes\` to be ${bytes}, the text bytes of the ${tokens} tokens that ${lease!.kind} microbatch ${lease!.index} counts, got ${false_}`,
      });
    if (seen.size === open) break;
    ({ lease } = await guest.complete(lease!, { ...told, bytes }));
  }
  // Nobody is put out for what was refused.
  expect((await run.joinTokens()).map(({ state }) => state)).toEqual([
    "active",
  ]);
});

test("of a run that has ended, a completion is answered although its dataset is gone", async () => {
  const { run, name } = await startRun({ gradientDtype: "f32" });
  const trainer = { trainer: "one", bootId: "b" };
  const { lease } = await run.lease({ ...trainer, fingerprint: "f" });
  await run.setState("cancelled");
  await clientOf().removeDataset(name);
  const told = {
    ...trainer,
    lossSum: 64,
    tokens: 64,
    bytes: 100,
    digests: ["0".repeat(64)],
  };
  await expect(run.complete(lease!, told)).rejects.toMatchObject({
    code: "run_ended",
  });
});

test("where tokens are bytes, a completion may say so, and nothing else", async () => {
  const client = clientOf();
  const name = `bytes-${crypto.randomUUID()}`;
  await client.putDataset(name, TEXT);
  const { run: id } = await client.createRun({ ...TINY, dataset: name });
  const run = client.run(id);
  const trainer = { trainer: "one", bootId: "b" };
  const { lease } = await run.lease({ ...trainer, fingerprint: "f" });
  const digests = ["0".repeat(64)];
  const sums = { ...trainer, lossSum: 64, tokens: 64, digests };
  await expect(run.complete(lease!, { ...sums, bytes: 65 })).rejects.toThrow(
    "Expected `bytes` to be 64, the text bytes of the 64 tokens that train microbatch 0 counts, got 65",
  );
  await run.complete(lease!, { ...sums, bytes: 64 });
  expect(await run.complete(lease!, sums)).toMatchObject({ duplicate: true });
});
