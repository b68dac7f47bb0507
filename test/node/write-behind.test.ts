/** Files that are written while the next of their bytes are made. */
import type { FileHandle } from "node:fs/promises";
import { expect, test } from "vitest";
import { type OnWritten, writeBehind } from "../../src/cli/write-behind.ts";

const MIB = 1024 * 1024;

/** What would be written, a call after the other; the call of number `fails` fails. */
function file(fails = Infinity) {
  const written: Uint8Array[] = [];
  let isBusy = false;
  const writeFile = async (bytes: Uint8Array): Promise<void> => {
    expect(isBusy).toBe(false);
    isBusy = true;
    await new Promise(setImmediate);
    written.push(bytes.slice());
    isBusy = false;
    if (written.length === fails) throw new Error("the disk is full");
  };
  return { written, handle: { writeFile } as unknown as FileHandle };
}

/** Chunks of these lengths in the same memory, of bytes that count on. */
async function* counting(lengths: readonly number[]) {
  const memory = new Uint8Array(Math.max(...lengths));
  let next = 0;
  for (const length of lengths) {
    const chunk = memory.subarray(0, length);
    for (let i = 0; i < length; i++) chunk[i] = next++ % 251;
    yield chunk;
    memory.fill(255);
    await Promise.resolve();
  }
}

test.each([
  ["nothing", [0]],
  ["small ones", [1, 2, 3]],
  ["one that fills the memory to its end", [MIB]],
  ["some beyond", [MIB - 1, 2, MIB, 5]],
  ["one of many times the memory", [10, 3 * MIB + 7, 1]],
])("%s: every byte in order, from memory that is used again", async (_, of) => {
  const { written, handle } = file();
  const looked: Uint8Array[] = [];
  // As a thread does: what is looked at comes back in memory of another name.
  const look: OnWritten = async (bytes) => {
    looked.push(bytes.slice());
    await new Promise(setImmediate);
    return structuredClone(bytes, { transfer: [bytes.buffer] });
  };
  const bytes = of.reduce((sum, length) => sum + length, 0);
  expect(await writeBehind(handle, counting(of), look)).toBe(bytes);
  const all = Buffer.concat(written);
  expect(all).toHaveLength(bytes);
  expect(all.findIndex((byte, i) => byte !== i % 251)).toBe(-1);
  expect(Buffer.concat(looked).equals(all)).toBe(true);
  expect(written.length).toBe(Math.max(1, Math.ceil((bytes + 1) / MIB)));
});

test.each([1, 2, 4])("a write that fails ends it: number %i", async (fails) => {
  const { written, handle } = file(fails);
  const chunks = counting([MIB, MIB, MIB, 5]);
  await expect(writeBehind(handle, chunks)).rejects.toThrow("the disk is full");
  expect(written).toHaveLength(fails);
});
