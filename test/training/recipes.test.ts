import { reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import { RECIPE_NAMES, segmentLength } from "../../src/api/recipe.ts";
import { WIRE_DTYPES } from "../../src/api/run-config.ts";
import { finish, startRun } from "../support/run.ts";

afterEach(reset);

/** Nats: a uniform guess over 256 bytes is ln 256 = 5.545, and initial logits are nearly uniform. */
const FIRST_LOSS = Math.log(256);

const WIDE = { layers: 1, width: 128, heads: 2, context: 64 };

test("every recipe starts from the same val loss and learns", async () => {
  const firstLosses: number[] = [];
  for (const recipe of RECIPE_NAMES) {
    const { run } = await startRun({
      recipe,
      steps: 8,
      microbatches: 2,
      sequences: 2,
      // Segments of 128 want rows that hold them.
      ...(segmentLength(recipe) > 64 && { model: WIDE }),
    });
    await finish(run);
    const metrics = await run.metrics();
    const first = metrics[0]!.valLoss!;
    const last = metrics.at(-1)!.valLoss!;
    if (segmentLength(recipe) <= 64) firstLosses.push(first);
    expect.soft(Math.abs(first - FIRST_LOSS), recipe).toBeLessThan(0.1);
    expect.soft(last, recipe).toBeLessThan(first - 0.5);
  }
  for (const loss of firstLosses) {
    // Four bits in the forward pass move it by some thousandths.
    expect.soft(Math.abs(loss - firstLosses[0]!)).toBeLessThan(5e-3);
  }
});

test.each(WIRE_DTYPES)("gradients that travel as %s train", async (dtype) => {
  const { run } = await startRun({
    recipe: "f32",
    gradientDtype: dtype,
    steps: 8,
    microbatches: 2,
  });
  await finish(run);
  const metrics = await run.metrics();
  expect(metrics.at(-1)!.valLoss!).toBeLessThan(metrics[0]!.valLoss! - 0.5);
});
