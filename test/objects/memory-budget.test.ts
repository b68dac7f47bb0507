import { expect, test } from "vitest";
import { MemoryBudget } from "../../src/objects/shard/memory-budget.ts";

function budgetOf(limitBytes: number) {
  const budget = new MemoryBudget(limitBytes);
  const dropped: string[] = [];
  const hold = (key: string, bytes: number) =>
    budget.hold(key, bytes, () => dropped.push(key));
  return { budget, dropped, hold };
}

test("who was used longest ago is dropped first, and no more than needed", () => {
  const { budget, dropped, hold } = budgetOf(100);
  hold("a", 40);
  hold("b", 40);
  budget.touch("a");
  hold("c", 40);
  expect(dropped).toEqual(["b"]);
  expect(budget.usedBytes).toBe(80);
});

test("who asks stays, even alone above the limit", () => {
  const { budget, dropped, hold } = budgetOf(100);
  hold("a", 40);
  hold("b", 140);
  expect(dropped).toEqual(["a"]);
  expect(budget.usedBytes).toBe(140);
});

test("holding again replaces what was held, and releasing gives it back", () => {
  const { budget, dropped, hold } = budgetOf(100);
  hold("a", 90);
  hold("a", 60);
  expect(budget.usedBytes).toBe(60);
  budget.release("a");
  budget.release("a");
  budget.touch("a");
  expect(budget.usedBytes).toBe(0);
  expect(dropped).toEqual([]);
});
