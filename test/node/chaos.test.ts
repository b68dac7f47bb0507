/** A few schedules of `npm run chaos`: faults come, and the bytes stay. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { befall } from "../../bench/chaos/befall.ts";
import {
  type ChaosEdge,
  runSchedules,
  startChaosEdge,
  UNDISTURBED,
  VARIANTS,
} from "../../bench/chaos/schedules.ts";

let folder: string;
let edge: ChaosEdge;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-chaos-test-"));
  edge = await startChaosEdge(folder);
});

afterAll(async () => {
  await edge.close();
  rmSync(folder, { recursive: true, force: true });
});

test("runs under faults of every kind end in the bytes of those left alone", async () => {
  const problems: string[] = [];
  const seeds = [3, 5, 8, 13, 21, 34];
  await runSchedules(edge, seeds, 3, { edgeKills: false }, ({ problem }) => {
    if (problem !== undefined) problems.push(problem);
  });
  expect(problems).toEqual([]);
  const answer = await fetch(`${edge.url}/chaos`);
  const { come } = (await answer.json()) as { come: number };
  expect(come).toBeGreaterThan(3);
});

test("and when the edge is killed amid them", async () => {
  const request = VARIANTS[1]!;
  const alone = { ...UNDISTURBED, seed: 1, variant: 1 };
  const { outcome } = await befall(edge, alone, request);
  const killed = await befall(
    edge,
    { ...alone, trainers: 2, edgeKill: 12 },
    request,
  );
  expect(killed.outcome).toEqual(outcome);
  // Another run's would not do.
  const other = { ...request, seed: 9 };
  expect((await befall(edge, alone, other)).outcome).not.toEqual(outcome);
});
