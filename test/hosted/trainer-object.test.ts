import { reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { RunEvent } from "../../src/api/run-metrics.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { finish, outcomeOf, startRun } from "../support/run.ts";

afterEach(reset);

async function pulledBytes(run: RunClient): Promise<number> {
  const metrics = await run.metrics();
  return metrics.reduce(
    (sum, { phases }) => sum + (phases?.pulledBytes ?? 0),
    0,
  );
}

test("hosted trainers train a run to its end, to the same bytes as any other", async () => {
  const { run } = await startRun();
  await finish(run);
  const pulled = await pulledBytes(run);
  const expected = await outcomeOf(run);

  const hosted = await startRun({ shards: 2 });
  const names = await hosted.run.addTrainers(2);
  expect(new Set(names).size).toBe(2);
  const events: RunEvent[] = [];
  for await (const event of hosted.run.events()) events.push(event);
  expect(events.at(-1)).toMatchObject({ type: "state", state: "finished" });
  expect(await outcomeOf(hosted.run)).toEqual(expected);
  // Both are of one isolate: what one of them pulls, the other has.
  expect((await pulledBytes(hosted.run)) / pulled).toBeLessThan(1.9);
  const { trainers } = await hosted.run.status();
  expect(trainers.map(({ name }) => name).sort()).toEqual(names.toSorted());
});

test("a hosted trainer that the run refuses for its fingerprint goes on once that is set back", async () => {
  const { run } = await startRun();
  await run.setFingerprint("another");
  await run.addTrainers(1);
  // Until it was refused.
  await scheduler.wait(500);
  expect((await run.status()).step).toBe(0);
  await run.setFingerprint(null);
  const events: RunEvent[] = [];
  for await (const event of run.events()) events.push(event);
  expect(events.at(-1)).toMatchObject({ type: "state", state: "finished" });
});
