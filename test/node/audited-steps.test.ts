/** Which steps an audit computes to find the first false one, and which it names of a lie and a change. */
import { expect, test } from "vitest";
import { probe } from "../../src/cli/audited-steps.ts";
import type { RecomputedRun } from "../../src/cli/recomputed-steps.ts";
import type { FalseStep } from "../../src/cli/told-step.ts";

const STATES = [0, 4, 8, 12, 16];
const LAST = 18;

/** A run that is false from step `lied` on, and whose digests do not follow at step `changed`. */
function runOf(lied: number, changed = Infinity, states = STATES) {
  const computed: [start: number, last: number][] = [];
  const at = (step: number, chain?: true): FalseStep | null =>
    step > LAST ? null : { step, microbatches: [], ...(chain && { chain }) };
  const run = {
    first: 0,
    last: LAST,
    states,
    computed: 0,
    firstUnlinked: () => Promise.resolve(at(changed, true)),
    firstFalse(start: number, last: number) {
      computed.push([start, last]);
      const first = Math.max(start, lied);
      return Promise.resolve(first <= last ? at(first) : null);
    },
  };
  return { run: run as unknown as RecomputedRun, computed };
}

test("a run that is false from any step on is halved to it: between the last true kept state and the first false one", async () => {
  for (let lied = 0; lied <= LAST + 1; lied++) {
    const { run, computed } = runOf(lied);
    const { first, last } = await probe(run);
    expect(last).toBe(LAST);
    expect(first?.step).toBe(lied <= LAST ? lied : undefined);
    const high = STATES.findIndex((state) => state >= lied);
    const start = STATES.at(high < 0 ? -1 : Math.max(0, high - 1))!;
    expect(computed.at(-1)).toEqual([start, STATES[high] ?? LAST]);
    // The last state, those halved, and the steps between.
    const halved = high < 0 ? 0 : Math.ceil(Math.log2(STATES.length));
    expect(computed.length).toBeLessThanOrEqual(2 + halved);
    for (const [from, to] of computed.slice(0, -1)) expect(to).toBe(from);
  }
});

test("with one state that is kept, the rest is computed from it", async () => {
  for (const lied of [0, 7, LAST + 1]) {
    const { run, computed } = runOf(lied, Infinity, [0]);
    expect((await probe(run)).first?.step).toBe(lied > LAST ? undefined : lied);
    expect(computed.at(-1)).toEqual([0, lied === 0 ? 0 : LAST]);
  }
});

test("of a lie and a change, the earlier one is named; of one step, the lie", async () => {
  for (const [lied, changed, isLie] of [
    [5, 9, true],
    [9, 5, false],
    [5, 5, true],
    [5, Infinity, true],
    [Infinity, 5, false],
  ] as const) {
    const { first } = await probe(runOf(lied, changed).run);
    expect(first).toEqual({
      step: Math.min(lied, changed),
      microbatches: [],
      ...(!isLie && { chain: true }),
    });
  }
});

test("a kept state that is false where all steps before it are true is the fault of its storage", async () => {
  const { run } = runOf(Infinity);
  const falseAt8 = (start: number, last: number) =>
    Promise.resolve(
      start === last && start >= 8 ? { step: start, microbatches: [] } : null,
    );
  await expect(
    probe(Object.assign(run, { firstFalse: falseAt8 })),
  ).rejects.toThrow(
    "Expected the kept state of step 8 to follow from the steps from 4 on",
  );
});
