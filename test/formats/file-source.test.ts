/** Runs of files as one source: whatever is taken at once, from wherever, the bytes are those of a slow copy. */
import { expect, test } from "vitest";
import type { FileRange } from "../../src/formats/stream/file-range.ts";
import { FileSource } from "../../src/formats/stream/file-source.ts";

const FILES = [0, 1].map((file) =>
  Uint8Array.from(
    { length: 5000 },
    (_, i) => (i * 31 + file * 7 + i / 256) % 256,
  ),
);

/** Some follow each other, some are of rows in another order, and one is empty. */
const RUNS: FileRange<number>[] = [
  { file: 0, start: 10, end: 300 },
  { file: 0, start: 300, end: 500 },
  { file: 1, start: 7, end: 7 },
  {
    file: 1,
    start: 3,
    end: 3 + 40 * 18,
    rows: { rowBytes: 6, of: 3, taken: [2, 0] },
  },
  {
    file: 1,
    start: 900,
    end: 900 + 25 * 64,
    rows: { rowBytes: 8, of: 8, taken: [0, 4, 1, 5, 2, 6, 3, 7] },
  },
  { file: 0, start: 4000, end: 5000 },
  { file: 0, start: 1, end: 13, rows: { rowBytes: 1, of: 2, taken: [1] } },
];

function expected(): number[] {
  return RUNS.flatMap(({ file, start, end, rows }) => {
    const bytes = [...FILES[file]!.subarray(start, end)];
    if (!rows) return bytes;
    const { rowBytes, of, taken } = rows;
    const turn = rowBytes * of;
    return Array.from({ length: bytes.length / turn }, (_, t) =>
      taken.flatMap((row) => {
        const at = t * turn + row * rowBytes;
        return bytes.slice(at, at + rowBytes);
      }),
    ).flat();
  });
}

/** As a bucket's stream does: what it reads into is gone, and its memory is the answer's. */
function read(moves: boolean) {
  return async (
    file: number,
    start: number,
    length: number,
    into?: ArrayBuffer,
  ) => {
    const own = FILES[file]!.slice(start, start + length);
    if (!moves || into === undefined || into.byteLength < length) return own;
    const view = new Uint8Array(into.transfer(), 0, length);
    view.set(own);
    return view;
  };
}

test.each([
  [1, 64, false, false],
  [50, 64, true, false],
  [97, 1000, true, true],
  [1, 50, true, true],
  [7, 64, false, true],
  [640, 100, false, true],
  [4000, 4 * 2 ** 20, true, false],
])(
  "%i bytes at once, of windows of %i",
  async (piece, windowBytes, moves, readsAhead) => {
    const all = expected();
    for (let from = 0; from <= all.length; from += 131) {
      const source = new FileSource(read(moves), RUNS, {
        windowBytes,
        readsAhead,
      });
      source.seek(from);
      const taken: number[] = [];
      for (let at = from; at < all.length; at += piece)
        taken.push(...(await source.take(Math.min(piece, all.length - at))));
      expect(taken).toEqual(all.slice(from));
      await expect(source.take(1)).rejects.toThrow("Expected 1 more bytes");
      source.release();
    }
  },
);

test("ahead of what is asked for, a window is read once, and a failure is told when it is due", async () => {
  const spans: string[] = [];
  const fails = async (_: number, start: number, length: number) => {
    spans.push(`${start}+${length}`);
    if (start >= 200) throw new Error("Expected a disk");
    return new Uint8Array(length).fill(start);
  };
  const source = new FileSource(fails, [{ file: 0, start: 0, end: 300 }], {
    windowBytes: 100,
    readsAhead: true,
  });
  const taken: number[] = [];
  for (let at = 0; at < 200; at += 50)
    taken.push((await source.take(50)).at(-1)!);
  expect(taken).toEqual([0, 0, 100, 100]);
  expect(spans).toEqual(["0+100", "100+100", "200+100"]);
  await expect(source.take(50)).rejects.toThrow("Expected a disk");
});

test("ahead of pieces that no window is full of, none is read twice, and nothing behind the end", async () => {
  const spans: string[] = [];
  const zeros = (_: number, start: number, length: number) => {
    spans.push(`${start}+${length}`);
    return Promise.resolve(new Uint8Array(length));
  };
  const source = new FileSource(zeros, [{ file: 0, start: 0, end: 300 }], {
    windowBytes: 100,
    readsAhead: true,
  });
  for (let at = 0; at < 300; at += 30) await source.take(30);
  expect(spans).toEqual(["0+100", "90+100", "180+100", "270+30"]);
});

test("small runs near one another come in one read, in whichever order they are taken", async () => {
  const spans: string[] = [];
  const read = async (file: number, start: number, length: number) => {
    spans.push(`${file}: ${start}+${length}`);
    return FILES[file]!.slice(start, start + length);
  };
  const runs = [
    { file: 0, start: 300, end: 360 },
    { file: 0, start: 100, end: 160 },
    { file: 0, start: 200, end: 260 },
    // Too far for a window.
    { file: 0, start: 4000, end: 4060 },
    // Between both lies more than is taken.
    { file: 1, start: 10, end: 20 },
    { file: 1, start: 900, end: 910 },
  ];
  const source = new FileSource(read, runs, { windowBytes: 1000 });
  for (const { file, start, end } of runs)
    expect(await source.take(end - start)).toEqual(
      FILES[file]!.subarray(start, end),
    );
  expect(spans).toEqual(["0: 100+260", "0: 4000+60", "1: 10+10", "1: 900+10"]);
});
