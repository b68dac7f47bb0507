import { expect, test } from "vitest";
import { TokenCache } from "../../src/training/token-cache.ts";

const PAGE = 64 * 1024;

function cacheOf(tokens: number) {
  const requests: [start: number, length: number][] = [];
  let failures = 0;
  const cache = new TokenCache(
    { tokens, tokenizer: "byte" },
    async (start, length) => {
      requests.push([start, length]);
      await Promise.resolve();
      if (failures-- > 0) throw new Error("lost");
      return Uint8Array.from({ length }, (_, i) => (start + i) % 251);
    },
  );
  return { cache, requests, failNext: () => (failures = 1) };
}

test("windows come from whole pages, across their borders, and each page is asked for once", async () => {
  const { cache, requests } = cacheOf(2 * PAGE + 10);
  const windows = await Promise.all([
    cache.read(PAGE - 3, 7),
    cache.read(10, 5),
    cache.read(2 * PAGE, 10),
  ]);
  expect([...windows[0]]).toEqual(
    Array.from({ length: 7 }, (_, i) => (PAGE - 3 + i) % 251),
  );
  expect(windows[2]).toHaveLength(10);
  expect(requests).toEqual([
    [0, PAGE],
    [2 * PAGE, 10],
    [PAGE, PAGE],
  ]);
});

test("a page that could not be read is asked for again", async () => {
  const { cache, requests, failNext } = cacheOf(100);
  failNext();
  await expect(cache.read(0, 10)).rejects.toThrow("lost");
  expect(await cache.read(0, 10)).toHaveLength(10);
  expect(requests).toHaveLength(2);
});

test("64 pages are kept, those used last", async () => {
  const { cache, requests } = cacheOf(100 * PAGE);
  for (let page = 0; page < 65; page++) {
    await cache.read(page * PAGE, 1);
    await cache.read(0, 1);
  }
  expect(requests).toHaveLength(65);
  await cache.read(0, 1);
  expect(requests).toHaveLength(65);
  await cache.read(PAGE, 1);
  expect(requests).toHaveLength(66);
});

test("a window outside the corpus is a bug, and says so", async () => {
  const { cache } = cacheOf(100);
  await expect(cache.read(95, 10)).rejects.toThrow(
    "Expected a window within 100 tokens, got [95, 105)",
  );
});

test("ids of 16 bits stay whole, half as many a page", async () => {
  const tokens = PAGE;
  const requests: number[] = [];
  const cache = new TokenCache(
    { tokens, tokenizer: "bpe" },
    (start, length) => {
      requests.push(start);
      return Promise.resolve(Uint16Array.from({ length }, (_, i) => start + i));
    },
  );
  const window = await cache.read(PAGE / 2 - 2, 4);
  expect([...window]).toEqual([32766, 32767, 32768, 32769]);
  expect(requests).toEqual([0, PAGE / 2]);
});
