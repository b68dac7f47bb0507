import { beforeEach, expect, test } from "vitest";
import { measured, Pace, type Usual } from "../../src/objects/run/pace.ts";
import {
  type Holder,
  type Microbatch,
  StepLeases,
} from "../../src/objects/run/step-leases.ts";
import { uniform } from "../support/random.ts";

const [one, two, three] = ["one", "two", "three"].map((trainer) => ({
  trainer,
  bootId: "a",
  author: trainer,
})) as [Holder, Holder, Holder];

/** Of trainers that take so many ms for a microbatch of either kind. */
function paceOf(times: Record<string, number>): Pace {
  const usual = new Map(
    Object.entries(times).map(([name, ms]): [string, Usual] => [
      name,
      { train: ms, eval: ms },
    ]),
  );
  return new Pace(
    (trainer) => usual.get(trainer),
    () => Array.from(usual, ([author, usual]) => ({ author, usual })),
  );
}

/** All alike, and known; whom a test gives up, the next does not. */
let known: Pace;
beforeEach(() => {
  known = paceOf({ one: 100, two: 100, three: 100 });
});

function workOf(...indexes: number[]): StepLeases {
  return new StepLeases(
    7,
    indexes.map((index): Microbatch => ({ kind: "train", index })),
  );
}

test("each microbatch is leased once, in order, until all are completed", () => {
  const work = workOf(0, 1);
  expect(work.take(one, 1000, known)).toEqual({
    kind: "train",
    step: 7,
    index: 0,
    deadlineMs: 6000,
  });
  expect(work.take(two, 1000, known)).toMatchObject({ index: 1 });
  expect(work.tookMs({ kind: "train", index: 0 }, one, 1500)).toBe(500);
  expect(work.tookMs({ kind: "train", index: 0 }, two, 1500)).toBeUndefined();
  expect(work.tookMs({ kind: "eval", index: 0 }, one, 1500)).toBeUndefined();
  work.complete({ kind: "train", index: 0 });
  expect(work.isDone).toBe(false);
  work.complete({ kind: "train", index: 1 });
  expect(work.isDone).toBe(true);
});

test("asking again, after an answer was lost, gives the same lease", () => {
  const work = workOf(0, 1);
  const lease = work.take(one, 0, known);
  expect(work.take(one, 10, known)).toEqual(lease);
});

test("what a trainer holds is computed by another as soon as that one may be expected to finish first", () => {
  const work = workOf(0);
  work.take(one, 0, known);
  expect(work.take(two, 0, known)).toBeNull();
  // Trainer one may be done at any moment from 100 ms on, and is given up after twice that.
  expect(work.take(two, 199, known)).toBeNull();
  expect(work.nextMs(199, known)).toBe(200);
  expect(work.take(two, 200, known)).toMatchObject({ index: 0 });
  // Two is expected at 400: nobody else is needed until then.
  expect(work.take(three, 201, known)).toBeNull();
  expect(work.nextMs(201, known)).toBe(400);
  expect(work.take(three, 400, known)).toMatchObject({ index: 0 });
});

test("a fast trainer takes from a slow one early", () => {
  const pace = paceOf({ one: 100, two: 10, three: 100 });
  const work = workOf(0);
  work.take(one, 0, pace);
  expect(work.take(three, 50, pace)).toBeNull();
  expect(work.take(two, 50, pace)).toMatchObject({ index: 0 });
});

test("nobody waits for a trainer of whom nothing is known", () => {
  const pace = paceOf({ two: 100 });
  const work = workOf(0, 1);
  work.take(one, 0, pace);
  expect(work.take(two, 0, pace)).toMatchObject({ index: 1 });
  work.complete({ kind: "train", index: 1 });
  expect(work.take(two, 1, pace)).toMatchObject({ index: 0 });
});

test.each([1, 9])(
  "how long trainers of one author take, %i of them, does not stretch what the others wait beyond four times what is typical",
  (count) => {
    let usual: Usual = {};
    let patience = 0;
    const others = { author: "other", usual: { train: 100 } };
    for (let round = 0; round < 20; round++) {
      const slow = Array.from({ length: count }, () => ({
        author: "slow",
        usual,
      }));
      const pace = new Pace(
        (trainer) => (trainer === "slow" ? usual : others.usual),
        () => [...slow, others],
      );
      // They complete just before they would be given up.
      patience = Math.max(100, pace.patienceEndMs("slow", "train", 0));
      usual = measured(usual, "train", patience - 1);
      expect(pace.leaseMs("train")).toBeLessThanOrEqual(60_000);
      expect(pace.twoMs("slow", "train")).toBeLessThanOrEqual(800);
    }
    expect(usual.train).toBeGreaterThan(200);
    expect(patience).toBe(400);
  },
);

test("a lease past its deadline is open again, and who had it is told", () => {
  const work = workOf(0);
  const { deadlineMs } = work.take(one, 0, known)!;
  expect(work.lapse(deadlineMs - 1)).toEqual([]);
  expect(work.lapse(deadlineMs)).toEqual([one]);
  expect(work.take(two, deadlineMs, known)).toMatchObject({ index: 0 });
});

test("a new boot frees what the old one held, and nobody else's", () => {
  const work = workOf(0, 1);
  work.take(one, 0, known);
  work.take(two, 0, known);
  const reborn = { ...one, bootId: "b" };
  work.releaseOtherBoots(reborn);
  expect(work.isHolding("two", 0)).toBe(true);
  expect(work.isHolding("one", 0)).toBe(false);
  expect(work.take(reborn, 0, known)).toMatchObject({ index: 0 });
  expect(work.take(three, 0, known)).toBeNull();
});

test("who lets go of a microbatch and takes it again is waited for no longer", () => {
  const work = workOf(0);
  work.take(one, 0, known);
  for (const [boot, nowMs] of [
    ["b", 90],
    ["c", 180],
  ] as const) {
    const reborn = { ...one, bootId: boot };
    work.releaseOtherBoots(reborn);
    work.release({ ...reborn, bootId: "a" });
    expect(work.take(reborn, nowMs, known)).toMatchObject({ index: 0 });
    expect(work.take(two, nowMs, known)).toBeNull();
  }
  expect(work.nextMs(199, known)).toBe(200);
  expect(work.take(two, 200, known)).toMatchObject({ index: 0 });
  // Nor for the next, until it has completed something.
  const later = (nowMs: number) => {
    const next = workOf(0);
    next.take(one, nowMs, known);
    return next.take(two, nowMs, known);
  };
  expect(later(300)).toMatchObject({ index: 0 });
  known.expectAgain("one");
  expect(later(400)).toBeNull();
});

test("a microbatch completed by another than its holder is done", () => {
  const work = workOf(0, 1);
  work.take(one, 0, known);
  work.complete({ kind: "train", index: 0 });
  expect(work.take(one, 0, known)).toMatchObject({ index: 1 });
  expect(work.take(two, 0, known)).toBeNull();
});

test("a lease lasts four times what is typical: the lower median, of the kind or else of the other", () => {
  expect(paceOf({}).leaseMs("train")).toBe(60_000);
  expect(paceOf({ one: 2000 }).leaseMs("train")).toBe(8000);
  expect(paceOf({ one: 2000, two: 90_000 }).leaseMs("train")).toBe(8000);
  expect(paceOf({ one: 1, two: 2000, three: 3000 }).leaseMs("eval")).toBe(8000);
  expect(paceOf({ one: 1 }).leaseMs("train")).toBe(5000);
  expect(paceOf({ one: 1e9 }).leaseMs("train")).toBe(600_000);
  const trained = [{ author: "one", usual: { train: 3000 } }];
  // Many may share a token, and one of another be much faster.
  const crowd = [
    ...trained,
    ...trained,
    { author: "two", usual: { train: 1 } },
  ];
  const shared = new Pace(
    () => undefined,
    () => crowd,
  );
  expect(shared.leaseMs("train")).toBe(12_000);
  expect(
    new Pace(
      () => undefined,
      () => trained,
    ).leaseMs("eval"),
  ).toBe(12_000);
});

test("what is usual follows what was measured, and forgets", () => {
  let usual = measured({}, "train", 1000);
  expect(usual).toEqual({ train: 1000 });
  usual = measured(usual, "eval", 300);
  for (let round = 0; round < 30; round++)
    usual = measured(usual, "train", 100);
  expect(usual.train).toBeCloseTo(100, 0);
  expect(usual.eval).toBe(300);
});

test("a second author is wanted, not a second trainer of the same", () => {
  const work = workOf(0);
  work.ask({ kind: "train", index: 0 }, 2, []);
  const sister = { ...two, author: one.author };
  expect(work.take(one, 0, known)).toMatchObject({ index: 0 });
  expect(work.take(sister, 0, known)).toBeNull();
  expect(work.take(three, 0, known)).toMatchObject({ index: 0 });
});

test("who is drawn for a second word computes it before all else, who holds it or has told does not, and who is late is joined by another", () => {
  const work = workOf(0, 1, 2);
  const there = [two, three].map(({ author }) => ({ name: author, author }));
  const second = { kind: "train", index: 1 } as const;
  const draw = (nowMs: number) => work.draw(second, there, nowMs, known);
  work.take(two, 0, known);
  work.take(three, 0, known);
  work.ask(second, 1, [one.author], 0.4);
  expect(work.anyDrawDue(0)).toBe(true);
  const drawn = draw(0) === "two" ? two : three;
  const other = drawn === two ? three : two;
  expect(work.anyDrawDue(0)).toBe(false);
  work.release(other);
  expect(work.take(other, 0, known)!.index).not.toBe(1);
  work.release(drawn);
  work.release(other);
  expect(work.take(one, 0, known)).toMatchObject({ index: 0 });
  expect(work.take(drawn, 0, known)).toMatchObject({ index: 1 });
  work.complete({ kind: "train", index: 0 });
  work.complete({ kind: "train", index: 2 });
  // Four times what it usually takes, since it may have been at another.
  expect(work.nextMs(399, known)).toBe(400);
  expect(draw(399)).toBeUndefined();
  expect(work.take(other, 399, known)).toBeNull();
  expect(draw(400)).toBe(other.author);
  expect(work.take(other, 400, known)).toMatchObject({ index: 1 });
  expect(known.isExpected(drawn.trainer, "train")).toBe(false);
});

test("so many are drawn as are wanted, and who is late, or put out, makes room for one more", () => {
  const work = workOf(0);
  const first = { kind: "train", index: 0 } as const;
  const there = ["a", "b", "c", "d", "e"].map((name) => ({
    name,
    author: name,
  }));
  const pace = paceOf({ a: 100, b: 100, c: 200, d: 100, e: 100 });
  const all = (nowMs: number) => {
    const drawn: string[] = [];
    while (work.isDrawDue(first, nowMs)) {
      const author = work.draw(first, there, nowMs, pace);
      if (author === undefined) break;
      drawn.push(author);
    }
    return drawn;
  };
  work.ask(first, 2, ["zero"], 0.4);
  const asked = all(0);
  expect(asked).toHaveLength(2);
  expect(work.draw(first, there, 0, pace)).toBeUndefined();
  work.releaseAuthor(asked[0]!);
  const [next] = all(10);
  expect(all(10)).toEqual([]);
  // One has told: one is wanted, who is there.
  work.ask(first, 1, ["zero", asked[1]!], 0.4);
  expect(all(20)).toEqual([]);
  const waits = next === "c" ? 800 : 400;
  expect(work.nextMs(20, pace)).toBe(10 + waits);
  expect(all(10 + waits - 1)).toEqual([]);
  const [late] = all(10 + waits);
  expect([...asked, next, late]).not.toContain(undefined);
  expect(new Set([...asked, next, late]).size).toBe(4);
  expect(pace.isExpected(next!, "train")).toBe(false);
  for (const { name } of there)
    expect(pace.isExpected(name, "train")).toBe(name !== next);
  // It has completed something since: what follows does not give it up again.
  pace.expectAgain(next!);
  work.ask(first, 2, ["zero", asked[1]!], 0.4);
  expect(all(10 + waits)).toHaveLength(1);
  expect(pace.isExpected(next!, "train")).toBe(true);
});

test("who is drawn gets it before what nobody has", () => {
  const work = workOf(0, 1);
  const second = { kind: "train", index: 1 } as const;
  work.ask(second, 1, ["zero"], 0.4);
  work.draw(second, [{ name: "two", author: "two" }], 0, known);
  expect(work.take(two, 0, known)).toMatchObject({ index: 1 });
  expect(work.take(one, 0, known)).toMatchObject({ index: 0 });
});

test("of an author with several trainers the slowest is waited for, one computes it, and all are given up", () => {
  const work = workOf(0);
  const first = { kind: "train", index: 0 } as const;
  const there = [one, two].map(({ trainer }) => ({
    name: trainer,
    author: "both",
  }));
  const pace = paceOf({ one: 100, two: 200, three: 200 });
  work.ask(first, 1, ["zero"], 0.4);
  expect(work.draw(first, there, 0, pace)).toBe("both");
  const [own, sister] = [one, two].map((each) => ({ ...each, author: "both" }));
  expect(work.take(own!, 0, pace)).toMatchObject({ index: 0 });
  expect(work.take(sister!, 0, pace)).toBeNull();
  expect(work.isDrawDue(first, 799)).toBe(false);
  expect(work.isDrawDue(first, 800)).toBe(true);
  expect(work.draw(first, there, 800, pace)).toBeUndefined();
  expect(pace.isExpected("one", "train")).toBe(false);
  expect(pace.isExpected("two", "train")).toBe(false);
  expect(pace.isExpected("three", "train")).toBe(true);
});

test("who is drawn gets it ahead of what it has, before what others leave over, whoever holds it", () => {
  const work = workOf(0, 1, 2, 3);
  const second = { kind: "train", index: 2 } as const;
  for (const each of [one, two, three]) work.take(each, 0, known);
  work.ask(second, 1, ["zero"], 0.4);
  const there = [{ name: "two", author: "two" }];
  expect(work.draw(second, there, 0, known)).toBe("two");
  expect(work.takeAhead(one, 0, known, 1)).toBeNull();
  // Its holder had it before.
  expect(work.take(three, 0, known)).toMatchObject({ index: 2 });
  expect(work.takeAhead(two, 0, known, 1)).toMatchObject({ index: 2 });
  expect(work.takeAhead(one, 0, known, 0)).toMatchObject({ index: 3 });
});

test("drawn are those of whom something is expected, before others, in an order that only the seed tells", () => {
  const orders: string[] = [];
  const random = uniform(5);
  for (let trial = 0; trial < 1200; trial++) {
    const seed = random();
    const pace = paceOf({ one: 100, three: 100 });
    const work = workOf();
    const there = ["a", "b", "three", "z"].map((name) => ({
      name,
      author: name,
    }));
    const first = { kind: "train", index: 0 } as const;
    const draw = (nowMs: number) => work.draw(first, there, nowMs, pace)!;
    work.ask(first, 1, ["one"], seed);
    expect(draw(0)).toBe("three");
    const next = draw(400);
    // Whoever is put out is not waited for.
    expect(draw(401)).toBeUndefined();
    work.releaseAuthor(next);
    const order = [next, draw(402), draw(802)];
    expect(order.toSorted()).toEqual(["a", "b", "z"]);
    expect(draw(1202)).toBeUndefined();
    expect(work.anyDrawDue(1202)).toBe(true);
    // Another draw of it, of those who are there then: in the same order.
    there.splice(0, 1);
    work.ask(first, 1, ["one"]);
    work.ask(first, 1, ["one"], seed);
    pace.expectAgain("three");
    const again = [draw(0), draw(400), draw(800)];
    expect(again).toEqual(["three", ...order.filter((name) => name !== "a")]);
    orders.push(order.join());
  }
  // Each of the six as often as another: 4 standard deviations of a binomial.
  const counts = [...Map.groupBy(orders, (order) => order).values()];
  expect(counts).toHaveLength(6);
  for (const { length } of counts)
    expect(Math.abs(length - 200)).toBeLessThan(4 * Math.sqrt(200 * (5 / 6)));
});

test("a lease ahead is of what nobody has, and asking again gives the same", () => {
  const work = workOf(0, 1, 2);
  expect(work.takeAhead(one, 0, known, 0)).toBeNull();
  const first = work.take(one, 0, known)!;
  const ahead = work.takeAhead(one, 0, known, 0)!;
  // As long again as the first, which comes before it.
  expect(ahead).toMatchObject({ index: 1, deadlineMs: 2 * first.deadlineMs });
  expect(work.takeAhead(one, 10, known, 0)).toEqual(ahead);
  expect(work.take(one, 10, known)).toEqual(first);
  expect(work.take(two, 10, known)).toMatchObject({ index: 2 });
  expect(work.takeAhead(two, 10, known, 0)).toBeNull();
  expect(work.holders()).toEqual(new Set(["one", "two"]));
});

test("others who have nothing come before a lease ahead", () => {
  for (const [others, index] of [
    [1, 1],
    [2, undefined],
  ] as const) {
    const work = workOf(0, 1, 2);
    work.take(one, 0, known);
    expect(work.takeAhead(one, 0, known, others)?.index).toBe(index);
  }
});

test("of whom nothing is expected, or nothing any more, gets no lease ahead", () => {
  const work = workOf(0, 1);
  const stranger = { ...one, trainer: "stranger" };
  work.take(stranger, 0, known);
  expect(work.takeAhead(stranger, 0, known, 0)).toBeNull();
  work.release(stranger);
  work.take(one, 0, known);
  known.giveUpLate("one", "train", 0, 200);
  expect(work.takeAhead(one, 200, known, 0)).toBeNull();
  known.expectAgain("one");
  expect(work.takeAhead(one, 200, known, 0)).toMatchObject({ index: 1 });
});

test("what its author has told is not ahead of it", () => {
  const work = workOf(0, 1);
  work.ask({ kind: "train", index: 1 }, 1, ["one"]);
  work.take(one, 0, known);
  expect(work.takeAhead(one, 0, known, 0)).toBeNull();
});

test("a lease ahead is expected after the one before it, whenever that is told", () => {
  const begun = () => {
    const work = workOf(0, 1);
    work.take(one, 0, known);
    work.takeAhead(one, 0, known, 0);
    return work;
  };
  // One ends it at 200.
  expect(begun().take(two, 0, known)).toMatchObject({ index: 1 });
  expect(begun().take(two, 150, known)).toBeNull();
  // Its first is given up at 200.
  expect(begun().nextMs(150, known)).toBe(200);

  for (const [toldMs, sinceMs] of [
    [90, 90],
    [150, 100],
  ] as const) {
    const work = begun();
    work.complete({ kind: "train", index: 0 });
    expect(work.nextMs(toldMs, known)).toBe(300);
    expect(work.take(one, toldMs, known)).toMatchObject({ index: 1 });
    expect(work.tookMs({ kind: "train", index: 1 }, one, 160)).toBe(
      160 - toldMs,
    );
    expect(work.take(two, sinceMs + 110, known)).toBeNull();
    expect(work.nextMs(sinceMs + 110, known)).toBe(sinceMs + 200);
    expect(work.take(two, sinceMs + 200, known)).toMatchObject({ index: 1 });
    known.expectAgain("one");
  }
});

test("both leases of a trainer lapse, or are let go", () => {
  const taken = () => {
    const work = workOf(0, 1);
    work.take(one, 0, known);
    return { work, ahead: work.takeAhead(one, 0, known, 0)! };
  };
  const { work, ahead } = taken();
  expect(work.lapse(ahead.deadlineMs)).toEqual([one, one]);
  const other = taken().work;
  other.release(one);
  expect(other.holders()).toEqual(new Set());
});
