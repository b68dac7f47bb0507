import { afterEach, expect, test, vi } from "vitest";
import { endTurn, takeTurn } from "../../src/objects/job/job-turns.ts";

const [a, b] = [{}, {}];

afterEach(() => {
  vi.useRealTimers();
  for (const owner of [a, b]) endTurn(owner);
});

test("one has the turn, for as long as it takes it again", () => {
  vi.useFakeTimers();
  expect(takeTurn(a)).toBe(true);
  expect(takeTurn(b)).toBe(false);
  vi.advanceTimersByTime(9_000);
  expect(takeTurn(a)).toBe(true);
  vi.advanceTimersByTime(9_000);
  expect(takeTurn(b)).toBe(false);
});

test("who ends a turn is told whether others wait", () => {
  takeTurn(a);
  expect(endTurn(a)).toBe(false);
  takeTurn(a);
  takeTurn(b);
  takeTurn(a);
  expect(endTurn(b)).toBe(false);
  expect(endTurn(a)).toBe(true);
  expect(takeTurn(b)).toBe(true);
});

test("the turn of one that is gone ends by itself", () => {
  vi.useFakeTimers();
  takeTurn(a);
  vi.advanceTimersByTime(10_001);
  expect(takeTurn(b)).toBe(true);
});

test("a turn does not last longer where the clock is set back", () => {
  vi.useFakeTimers();
  takeTurn(a);
  vi.setSystemTime(Date.now() - 3_600_000);
  expect(takeTurn(b)).toBe(false);
  vi.advanceTimersByTime(10_001);
  expect(takeTurn(b)).toBe(true);
});
