import { afterEach, expect, test, vi } from "vitest";
import { Ledger, type Rank } from "../../src/memory/ledger.ts";

const MIB = 2 ** 20;

afterEach(() => void vi.useRealTimers());

/** 100 MiB, of which reservations leave 30 to what is kept, and those of trainers 10 to requests. */
function newLedger() {
  const ledger = new Ledger({
    totalBytes: 100 * MIB,
    keptBytes: 30 * MIB,
    requestBytes: 10 * MIB,
  });
  const dropped: string[] = [];
  return {
    ledger,
    dropped,
    keep: (key: string, mib: number) =>
      ledger.keep(key, mib * MIB, () => dropped.push(key)),
    /** Whether it was granted by now; what it gives, once it is. */
    reserve: (mib: number, rank: Rank = "request", maxWaitMs?: number) => {
      const asked = { granted: false, refused: "" };
      const reservation = ledger.reserve(mib * MIB, rank, maxWaitMs);
      reservation.then(
        () => (asked.granted = true),
        (error: Error) => (asked.refused = error.message),
      );
      return Object.assign(asked, { reservation });
    },
    heldMib: () => ledger.heldBytes / MIB,
  };
}

const soon = () => vi.advanceTimersByTimeAsync(100);

test("what was used longest ago is dropped first, and no more than needed", () => {
  const { ledger, dropped, keep, heldMib } = newLedger();
  keep("a", 40);
  keep("b", 40);
  ledger.touch("a");
  keep("c", 40);
  expect(dropped).toEqual(["b"]);
  expect(heldMib()).toBe(80);
});

test("what is kept last stays, even alone above the limit", () => {
  const { dropped, keep, heldMib } = newLedger();
  keep("a", 40);
  keep("b", 140);
  expect(dropped).toEqual(["a"]);
  expect(heldMib()).toBe(140);
});

test("keeping again replaces what was kept, and letting go gives it back", () => {
  const { ledger, dropped, keep, heldMib } = newLedger();
  keep("a", 90);
  keep("a", 60);
  expect(heldMib()).toBe(60);
  ledger.letGo("a");
  ledger.letGo("a");
  ledger.touch("a");
  expect(heldMib()).toBe(0);
  expect(dropped).toEqual([]);
});

test("what is fixed counts, for what is kept and for what is reserved", async () => {
  vi.useFakeTimers();
  const { ledger, dropped, keep, reserve } = newLedger();
  let fixed = 0;
  ledger.countFixed(() => fixed);
  keep("a", 60);
  fixed = 50 * MIB;
  keep("b", 10);
  expect(dropped).toEqual(["a"]);
  reserve(15);
  const second = reserve(15);
  await soon();
  expect(second.granted).toBe(false);
});

test("a reservation drops what is kept, and leaves room for the largest of it", async () => {
  vi.useFakeTimers();
  const { dropped, keep, reserve, heldMib } = newLedger();
  keep("a", 30);
  keep("b", 30);
  const first = reserve(60);
  const second = reserve(20);
  await soon();
  expect(dropped).toEqual(["a"]);
  expect([first.granted, second.granted]).toEqual([true, false]);
  keep("c", 30);
  expect(dropped).toEqual(["a", "b"]);
  expect(heldMib()).toBe(90);
  (await first.reservation).release();
  await soon();
  expect(second.granted).toBe(true);
});

test("who came first gets its turn first, and one alone gets more than there is", async () => {
  vi.useFakeTimers();
  const { reserve } = newLedger();
  const large = reserve(200);
  const small = reserve(2);
  await soon();
  expect([large.granted, small.granted]).toEqual([true, false]);
  (await large.reservation).release();
  const larger = reserve(300);
  const last = reserve(2);
  await soon();
  expect([small.granted, larger.granted, last.granted]).toEqual([
    true,
    false,
    false,
  ]);
  (await small.reservation).release();
  await soon();
  expect([larger.granted, last.granted]).toEqual([true, false]);
});

test("trainers leave room for the pushes that they wait for", async () => {
  vi.useFakeTimers();
  const { reserve } = newLedger();
  const trainers = [reserve(30, "trainer"), reserve(31, "trainer")];
  await soon();
  expect(trainers.map(({ granted }) => granted)).toEqual([true, false]);
  // The second waits; a push of the first does not wait behind it.
  const push = reserve(10);
  await soon();
  expect(push.granted).toBe(true);
});

test("a wait is bounded, and says what it waited for", async () => {
  vi.useFakeTimers();
  const { reserve, heldMib } = newLedger();
  const held = reserve(60);
  await soon();
  const second = reserve(20, "request", 1_000);
  const third = reserve(5);
  for (let ms = 0; ms < 1_200; ms += 100) {
    (await held.reservation).touch();
    await soon();
  }
  expect(second.refused).toBe(
    `Expected ${20 * MIB} bytes of memory to be free, got none within 1 seconds; repeat the request`,
  );
  expect(third.granted).toBe(true);
  expect(heldMib()).toBe(65);
});

test("who gives no sign of life holds nothing, until it gives one", async () => {
  vi.useFakeTimers();
  const { reserve, heldMib } = newLedger();
  const gone = await reserve(60).reservation;
  const next = reserve(60);
  await vi.advanceTimersByTimeAsync(4_000);
  expect(next.granted).toBe(false);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(next.granted).toBe(true);
  expect(heldMib()).toBe(60);
  gone.touch();
  expect(heldMib()).toBe(120);
  gone.release();
  gone.touch();
  expect(heldMib()).toBe(60);
});

test("where the clock is set back, who is gone still holds nothing, and who waits is told in time", async () => {
  vi.useFakeTimers();
  const { reserve } = newLedger();
  const gone = reserve(60);
  await gone.reservation;
  const refused = reserve(60, "request", 1_000);
  vi.setSystemTime(Date.now() - 3_600_000);
  const held = reserve(60);
  await vi.advanceTimersByTimeAsync(7_000);
  expect(refused.refused).toContain("none within 1 seconds");
  expect(held.granted).toBe(true);
  await held.reservation.then((it) => it.release());

  const { reservation } = reserve(200);
  const alive = setInterval(
    () => void reservation.then((it) => it.touch()),
    1_000,
  );
  const late = reserve(60, "request", 1_000);
  vi.setSystemTime(Date.now() - 3_600_000);
  await vi.advanceTimersByTimeAsync(2_000);
  clearInterval(alive);
  expect(late.refused).toContain("none within 1 seconds");
});

test("less than a MiB is not counted, and does not wait", async () => {
  const { ledger, reserve, heldMib } = newLedger();
  await reserve(200).reservation;
  await ledger.reserve(MIB - 1);
  expect(heldMib()).toBe(200);
});
