/**
 * Stored files as one tar (POSIX.1-2017, pax: ustar headers, and an extended one before a file whose size or
 * name they cannot say). Where each byte lies follows from names and sizes alone, so any range can be sent.
 */
import type { ByteRange } from "./byte-range.ts";

const BLOCK_BYTES = 512;
/** Eleven octal digits. */
const MAX_USTAR_BYTES = 8 ** 11 - 1;
const NAME_BYTES = 100;
const FOLDER_BYTES = 155;
const encoder = new TextEncoder();

/** `name` has the folders before it, with slashes. */
export type TarEntry = { name: string; bytes: number; modifiedMs: number };

/** A stretch of the tar from `start` on: bytes of its own, or those of an entry. */
type Stretch = { start: number; length: number } & (
  { own: Uint8Array } | { entry: number }
);

export type Tar = { bytes: number; stretches: readonly Stretch[] };

export function layOutTar(entries: readonly TarEntry[]): Tar {
  const stretches: Stretch[] = [];
  let start = 0;
  const add = (
    stretch: { own: Uint8Array } | { entry: number },
    length: number,
  ) => {
    stretches.push({ ...stretch, start, length });
    start += length;
  };
  const addOwn = (own: Uint8Array) => add({ own }, own.length);
  entries.forEach((each, entry) => {
    addOwn(headerOf(each));
    add({ entry }, each.bytes);
    addOwn(new Uint8Array(-each.bytes & (BLOCK_BYTES - 1)));
  });
  addOwn(new Uint8Array(2 * BLOCK_BYTES));
  return { bytes: start, stretches };
}

/** The range of the tar, of entries whose bytes `open` gives by range. */
export function readTar(
  { stretches }: Tar,
  { offset, length }: ByteRange,
  open: (entry: number, range: ByteRange) => Promise<ReadableStream>,
): { body: ReadableStream; written: Promise<void> } {
  const { readable, writable } = new FixedLengthStream(length);
  const end = offset + length;
  const write = async (): Promise<void> => {
    for (const stretch of stretches) {
      const from = Math.max(offset - stretch.start, 0);
      const to = Math.min(end - stretch.start, stretch.length);
      if (from >= to) continue;
      if ("own" in stretch) {
        const writer = writable.getWriter();
        await writer.write(stretch.own.subarray(from, to));
        writer.releaseLock();
      } else {
        const body = await open(stretch.entry, {
          offset: from,
          length: to - from,
        });
        await body.pipeTo(writable, { preventClose: true });
      }
    }
    await writable.close();
  };
  const written = write().catch(async (error: unknown) => {
    // The reader's connection breaks off, short of its length.
    await writable.abort(error).catch(() => {});
    throw error;
  });
  return { body: readable, written };
}

/** All of it, of entries whose bytes `open` gives. */
export async function* tarChunks(
  { stretches }: Tar,
  open: (entry: number) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for (const stretch of stretches) {
    if ("own" in stretch) yield stretch.own;
    else yield* open(stretch.entry);
  }
}

function headerOf(entry: TarEntry): Uint8Array {
  const { name, bytes } = entry;
  const place = placeOf(name);
  const isLarge = bytes > MAX_USTAR_BYTES;
  if (place && !isLarge) return ustar(entry, place, bytes, "0");
  const records = [
    ...(isLarge ? [record("size", `${bytes}`)] : []),
    ...(place ? [] : [record("path", name)]),
  ];
  const extended = records.reduce((sum, { length }) => sum + length, 0);
  const blocks = Math.ceil(extended / BLOCK_BYTES);
  const header = new Uint8Array((2 + blocks) * BLOCK_BYTES);
  // Whoever does not know extended headers gets files of these names.
  const { folder, last } = place ?? { folder: "", last: plain(name) };
  const own = { folder, last: `pax.${last}`.slice(0, NAME_BYTES) };
  header.set(ustar(entry, own, extended, "x"));
  let at = BLOCK_BYTES;
  for (const each of records) {
    header.set(each, at);
    at += each.length;
  }
  // What the extended header says stands above it.
  const stated = isLarge ? 0 : bytes;
  header.set(
    ustar(entry, { folder, last }, stated, "0"),
    (1 + blocks) * BLOCK_BYTES,
  );
  return header;
}

type Place = { folder: string; last: string };

/** The name in two fields, cut at the last slash; undefined where it is no ASCII, or longer than they are. */
function placeOf(name: string): Place | undefined {
  const slash = name.lastIndexOf("/");
  const [folder, last] = [
    name.slice(0, Math.max(slash, 0)),
    name.slice(slash + 1),
  ];
  const isShort = folder.length <= FOLDER_BYTES && last.length <= NAME_BYTES;
  return isShort && /^[\x20-\x7e]*$/.test(name) ? { folder, last } : undefined;
}

function plain(name: string): string {
  const last = name.slice(name.lastIndexOf("/") + 1);
  return last.replace(/[^\x20-\x7e]/gu, "_").slice(0, NAME_BYTES);
}

/** A record begins with its own length in decimal digits. */
function record(key: string, value: string): Uint8Array {
  const told = encoder.encode(` ${key}=${value}\n`);
  let length = told.length + 1;
  while (`${length}`.length + told.length !== length) length++;
  const bytes = new Uint8Array(length);
  bytes.set(encoder.encode(`${length}`));
  bytes.set(told, length - told.length);
  return bytes;
}

function ustar(
  { modifiedMs }: TarEntry,
  { folder, last }: Place,
  bytes: number,
  type: "0" | "x",
): Uint8Array {
  const header = new Uint8Array(BLOCK_BYTES);
  const put = (at: number, text: string) =>
    header.set(encoder.encode(text), at);
  const octal = (at: number, digits: number, value: number) =>
    put(at, value.toString(8).padStart(digits, "0"));
  put(0, last);
  octal(100, 7, 0o644);
  octal(108, 7, 0); // user
  octal(116, 7, 0); // group
  octal(124, 11, bytes);
  octal(136, 11, Math.floor(modifiedMs / 1000));
  put(148, " ".repeat(8)); // as the checksum is counted with
  put(156, type);
  put(257, "ustar\u000000");
  octal(329, 7, 0);
  octal(337, 7, 0);
  put(345, folder);
  const sum = header.reduce((total, byte) => total + byte, 0);
  octal(148, 6, sum);
  header[154] = 0;
  return header;
}
