/** A few schedules of `npm run chaos`: faults come, and the bytes stay. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { befall, type Befallen } from "../../bench/chaos/befall.ts";
import { isRefused } from "../../bench/chaos/liar.ts";
import { LIES, type Schedule } from "../../bench/chaos/schedule.ts";
import {
  type ChaosEdge,
  runSchedules,
  startChaosEdge,
  UNDISTURBED,
  RUN_VARIANTS,
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

/** One run a schedule, all at once, of a variant that is left alone but for what is told. */
async function outcomesOf(
  variant: number,
  changes: readonly Partial<Schedule>[],
): Promise<Befallen[]> {
  const alone = { ...UNDISTURBED, seed: 1, variant };
  const request = RUN_VARIANTS[variant]!;
  const { outcome } = await befall(edge, alone, request);
  const all = await Promise.all(
    changes.map((change) => befall(edge, { ...alone, ...change }, request)),
  );
  for (const befallen of all) expect(befallen.outcome).toEqual(outcome);
  return all;
}

test.each([
  ["redundancy: 2", 1],
  ["verify: 1", 2],
])(
  "with %s a trainer that lies, in any way, changes nothing, and each lie that was taken as its word puts it under quarantine",
  async (_what, seed) => {
    const refused = LIES.filter(isRefused);
    const taken = LIES.filter((lie) => !isRefused(lie));
    const all = await outcomesOf(
      1,
      [...taken.map((lie) => [lie]), refused].map((lies) => ({
        seed,
        trainers: 2,
        liar: { lies, share: 1, comesFirst: true },
      })),
    );
    // That who told one is under quarantine, `befall` looks.
    expect(all.map(({ told }) => told.accepted > 0)).toEqual([
      ...taken.map(() => true),
      false,
    ]);
    const told = new Set(all.flatMap(({ told: { lies } }) => [...lies.keys()]));
    expect(told).toEqual(new Set(LIES));
  },
);

test("a run that is killed at any moment at which it goes back is before it or behind it", async () => {
  const faults = [
    ["", 4],
    ["", 10],
    ["", 13],
    ["/1", 0],
    ["/1", 4],
  ] as const;
  const all = await outcomesOf(
    2,
    faults.map(([object, uses], index) => ({
      trainers: 2,
      rewind: {
        request: 30,
        steps: 2,
        objects: [
          { object, uses, kind: index % 2 === 0 ? "abort" : "storage" },
        ],
      },
    })),
  );
  expect(all.filter(({ rewinds }) => rewinds > 0).length).toBeGreaterThan(2);
});

test("and when the edge is killed amid them", async () => {
  const request = RUN_VARIANTS[1]!;
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
