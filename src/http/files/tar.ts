/**
 * Stored files as one tar (POSIX.1-2017, pax: ustar headers, and an extended one before a file whose size
 * they cannot say). Where each byte lies follows from names and sizes alone, so any range can be sent.
 */
import type { ByteRange } from "./byte-range.ts";

const BLOCK_BYTES = 512;
/** Eleven octal digits. */
const MAX_USTAR_BYTES = 8 ** 11 - 1;
const encoder = new TextEncoder();

/** `name` is a folder, a slash and a name, each at most 100 bytes of ASCII. */
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
  if (entry.bytes <= MAX_USTAR_BYTES) return ustar(entry, entry.bytes, "0");
  const record = sizeRecord(entry.bytes);
  const [folder, name] = entry.name.split("/");
  const extended = ustar(
    { ...entry, name: `${folder}/pax.${name}` },
    record.length,
    "x",
  );
  const header = new Uint8Array(3 * BLOCK_BYTES);
  header.set(extended);
  header.set(record, BLOCK_BYTES);
  // What the extended header says stands above it.
  header.set(ustar(entry, 0, "0"), 2 * BLOCK_BYTES);
  return header;
}

/** A record begins with its own length in decimal digits. */
function sizeRecord(bytes: number): Uint8Array {
  const text = ` size=${bytes}\n`;
  let length = text.length + 1;
  while (`${length}${text}`.length !== length) length++;
  return encoder.encode(`${length}${text}`);
}

function ustar(
  { name, modifiedMs }: TarEntry,
  bytes: number,
  type: "0" | "x",
): Uint8Array {
  const header = new Uint8Array(BLOCK_BYTES);
  const put = (at: number, text: string) =>
    header.set(encoder.encode(text), at);
  const octal = (at: number, digits: number, value: number) =>
    put(at, value.toString(8).padStart(digits, "0"));
  const slash = name.indexOf("/");
  put(0, name.slice(slash + 1));
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
  put(345, name.slice(0, slash));
  const sum = header.reduce((total, byte) => total + byte, 0);
  octal(148, 6, sum);
  header[154] = 0;
  return header;
}
