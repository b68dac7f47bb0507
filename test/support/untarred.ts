/** Tars by POSIX.1-2017: "ustar Interchange Format", and "pax Extended Header" before the entries that have one. */
import { expect } from "vitest";

const BLOCK = 512;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The files of a tar, by their names. */
export function untarred(
  tar: Uint8Array,
): Map<string, Uint8Array<ArrayBuffer>> {
  const text = (at: number, length: number) =>
    decoder.decode(tar.subarray(at, at + length)).replace(/\0.*$/s, "");
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  let extended = new Map<string, string>();
  let at = 0;
  while (tar[at] !== 0) {
    const said = parseInt(text(at + 124, 12), 8);
    const size = Number(extended.get("size") ?? said);
    const folder = text(at + 345, 155);
    const name = (folder === "" ? "" : `${folder}/`) + text(at, 100);
    const data = Uint8Array.from(tar.subarray(at + BLOCK, at + BLOCK + size));
    if (tar[at + 156] === "x".charCodeAt(0)) {
      extended = recordsOf(data);
    } else {
      files.set(extended.get("path") ?? name, data);
      extended = new Map();
    }
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return files;
}

/** As `untarred`, and all else of it looked at: checksums, marks, kinds, and the two blocks at its end. */
export function entriesOf(
  tar: Uint8Array,
): Map<string, Uint8Array<ArrayBuffer>> {
  let at = 0;
  while (tar[at] !== 0) {
    const header = tar.slice(at, at + BLOCK);
    const number = (from: number, length: number) =>
      parseInt(decoder.decode(header.subarray(from, from + length)), 8);
    const [sum, size] = [number(148, 8), number(124, 12)];
    expect(decoder.decode(header.subarray(257, 265))).toBe("ustar\u000000");
    expect("0x").toContain(String.fromCharCode(header[156]!));
    header.fill(32, 148, 156);
    expect(header.reduce((total, byte) => total + byte, 0)).toBe(sum);
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  expect(tar.subarray(at)).toEqual(new Uint8Array(2 * BLOCK));
  return untarred(tar);
}

/** "LENGTH KEY=VALUE\n", of which the length counts all. */
function recordsOf(data: Uint8Array): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < data.length;) {
    const length = parseInt(decoder.decode(data.subarray(at, at + 5)), 10);
    const record = decoder.decode(data.subarray(at, at + length));
    const [, key, value] = /^\d+ ([^=]+)=(.*)\n$/s.exec(record)!;
    records.set(key!, value!);
    at += length;
  }
  return records;
}
