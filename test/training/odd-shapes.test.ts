/** Models as small and as odd as they may be: they train to the same bytes however they are cut, and write; or are refused. */
import { reset } from "cloudflare:test";
import { afterEach, describe, expect, test } from "vitest";
import type { RunRequest } from "../../src/api/run-config.ts";
import { clientOf, finish, outcomeOf, TINY } from "../support/run.ts";

afterEach(reset);

/** Of one merge: 257 ids. */
const TEXT = Uint8Array.from(Buffer.from("ab1".repeat(1500)));

async function newDataset(): Promise<string> {
  const client = clientOf();
  const dataset = `odd-${crypto.randomUUID()}`;
  const tokenizer = { tokenizer: "bpe", vocabulary: 512 } as const;
  await client.putDataset(dataset, TEXT, tokenizer);
  await client.readyDataset(dataset);
  return dataset;
}

const SHAPES: Record<string, Partial<RunRequest>> = {
  "one head, one token of context": {
    model: { layers: 1, width: 64, heads: 1, context: 1 },
    sequences: 64,
  },
  "a context that is no multiple of anything": {
    model: { layers: 1, width: 64, heads: 1, context: 33 },
    sequences: 64,
  },
  "heads of one channel": {
    model: { layers: 1, width: 64, heads: 64, context: 64 },
  },
  "a Llama of one head": {
    model: {
      arch: "llama",
      layers: 1,
      width: 64,
      heads: 1,
      context: 5,
      hidden: 320,
      headNorm: true,
    },
    sequences: 64,
  },
  "a Llama of pairs": {
    model: {
      arch: "llama",
      layers: 1,
      width: 64,
      heads: 64,
      headWidth: 2,
      groups: 32,
      context: 64,
      hidden: 64,
      tied: false,
    },
  },
};

// Between them they have every kind of product that a recipe has.
const RECIPES = ["mxfp4-full", "int6-mxfp4-rht-eden"] as const;

describe.each(Object.entries(SHAPES))("%s", (_, shape) => {
  test.each(RECIPES)("%s", async (recipe) => {
    const client = clientOf();
    const dataset = await newDataset();
    const outcomes = [];
    for (const trainers of [["one"], ["one", "two"]]) {
      const shards = trainers.length;
      const rest = { steps: 2, microbatches: 2, recipe, dataset, shards };
      const created = await client.createRun({ ...TINY, ...shape, ...rest });
      expect(created.config.model.vocabulary).toBe(257);
      const run = client.run(created.run);
      await finish(run, trainers);
      const outcome = await outcomeOf(run);
      const losses = outcome.losses.filter((loss) => loss !== null);
      expect(losses.length).toBeGreaterThan(2);
      for (const loss of losses) expect(Number.isFinite(loss)).toBe(true);
      let text = "";
      for await (const event of run.generate({ prompt: "ab1", maxTokens: 5 }))
        if ("text" in event) text += event.text;
      outcomes.push({ ...outcome, text });
    }
    expect(outcomes[1]).toEqual(outcomes[0]);
  });
});

test.each<[Partial<RunRequest>, string]>([
  [
    { model: { width: 32, heads: 1 } },
    "`width` to be a multiple of 64, got 32",
  ],
  [
    { model: { width: 64, heads: 3 } },
    "`width` to be a multiple of `heads` (3), got 64",
  ],
  [{ recipe: "mxfp4-rht128-sr" }, "`width` to be a multiple of 128, got 64"],
  [{ model: { width: 64, heads: 1, context: 33 } }, "the tokens of a microbatch to be a multiple of 64, got 1 sequences of 33 = 33"], // prettier-ignore
  [{ model: { arch: "llama", width: 64, heads: 2, hidden: 100 } }, "`hidden` to be a multiple of 64, got 100"], // prettier-ignore
  [{ model: { arch: "llama", width: 64, heads: 2, headWidth: 3 } }, "an even `headWidth`, of pairs that turn, got 3"], // prettier-ignore
  [{ model: { arch: "llama", width: 64, heads: 64 } }, "an even `headWidth`, of pairs that turn, got 1"], // prettier-ignore
  [{ model: { arch: "llama", width: 64, heads: 4, groups: 3 } }, "`heads` to be a multiple of `groups` (3), got 4"], // prettier-ignore
  [{ model: { arch: "llama", width: 64, heads: 4, groups: 1 } }, "(`heads` + 2 · `groups`) · `headWidth` to be a multiple of 64, got 96"], // prettier-ignore
])("%j is refused before it begins", async (change, message) => {
  const dataset = await newDataset();
  const model = { ...TINY.model, ...change.model };
  const request = { ...TINY, ...change, model, dataset };
  await expect(clientOf().createRun(request)).rejects.toThrow(message);
});
