/**
 * Lossless delta encoding of a bf16 parameter frame against the previous step's frame, which the receiver has. bf16
 * bits are mapped to integers in order of value, so that near values have a small difference. The difference's zigzag
 * code z, u16, is written as its class, the number of its bits, in a Huffman code, followed by those bits without the
 * leading 1.
 *
 *   0   the 64 bytes of the full frame's header, whose digest the result must have
 *   64  per 65,536 elements: 9 bytes with the code lengths of classes 0 to 16, 4 bits each, even class in the low half;
 *       then bits, least significant first, padded to a whole byte
 */
import { AppError } from "./errors.ts";
import { decodeFrame, type Frame, FRAME_HEADER_BYTES } from "./frame.ts";

/** Request header with the digest of the receiver's frame; response header with that of the base of a delta. */
export const FRAME_BASE = "Frame-Base";

const BLOCK_LENGTH = 64 * 1024;
const CLASSES = 17;
const LENGTHS_BYTES = 9;
/** The decoder looks codes up in a table of 2^12 entries. */
const MAX_CODE_BITS = 12;

/** The delta from frame `before` to frame `after`, of equal lengths; undefined if it is not smaller than `after`. */
export function encodeFrameDelta(
  before: Uint8Array<ArrayBuffer>,
  after: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> | undefined {
  const [old, now] = [wordsOf(before), wordsOf(after)];
  const codes = new Uint16Array(Math.min(BLOCK_LENGTH, now.length));
  const out = new Uint8Array(after.length);
  out.set(after.subarray(0, FRAME_HEADER_BYTES));
  let at = FRAME_HEADER_BYTES;
  for (let from = 0; from < now.length; from += BLOCK_LENGTH) {
    const length = Math.min(BLOCK_LENGTH, now.length - from);
    const counts = new Uint32Array(CLASSES);
    for (let i = 0; i < length; i++) {
      const d =
        ((inOrder(now[from + i]!) - inOrder(old[from + i]!)) << 16) >> 16;
      const z = ((d << 1) ^ (d >> 15)) & 0xffff;
      codes[i] = z;
      counts[32 - Math.clz32(z)]!++;
    }
    const lengths = codeLengths(counts);
    if (at + blockBytes(counts, lengths) >= out.length) return undefined;
    at = writeBlock(out, at, codes.subarray(0, length), lengths);
  }
  return out.slice(0, at);
}

/**
 * Applies `delta` to `frame` in place. Errors in `delta` give bytes that do not match its header's digest. Errors:
 * `malformed_frame` for a delta that is too short or too long
 */
export function applyFrameDelta(
  frame: Uint8Array<ArrayBuffer>,
  delta: Uint8Array,
): void {
  const words = wordsOf(frame);
  let at = FRAME_HEADER_BYTES;
  for (let from = 0; from < words.length; from += BLOCK_LENGTH) {
    const block = words.subarray(from, from + BLOCK_LENGTH);
    at = readBlock(block, delta, at);
  }
  if (at !== delta.length) {
    throw new AppError(
      "malformed_frame",
      `Expected a difference of ${at} bytes, got ${delta.length}`,
    );
  }
  frame.set(delta.subarray(0, FRAME_HEADER_BYTES));
}

/**
 * Applies `delta` to `base`, a decoded frame whose bytes are overwritten. Errors: `malformed_frame`, `digest_mismatch`
 */
export async function frameOnto(
  { payload }: Frame,
  delta: Uint8Array,
): Promise<Frame> {
  const { buffer, byteOffset, length } = payload;
  const start = byteOffset - FRAME_HEADER_BYTES;
  const frame = new Uint8Array(buffer, start, FRAME_HEADER_BYTES + length);
  applyFrameDelta(frame, delta);
  return decodeFrame(frame);
}

function wordsOf(frame: Uint8Array<ArrayBuffer>): Uint16Array {
  const start = frame.byteOffset + FRAME_HEADER_BYTES;
  const bytes = frame.length - FRAME_HEADER_BYTES;
  return new Uint16Array(frame.buffer, start, bytes / 2);
}

/** Maps bf16 bits to u16 in order of value; inverse of `inBits`. */
function inOrder(bits: number): number {
  return bits & 0x8000 ? 0xffff - bits : bits | 0x8000;
}

function inBits(order: number): number {
  return order & 0x8000 ? order & 0x7fff : 0xffff - order;
}

function blockBytes(counts: Uint32Array, lengths: Uint8Array): number {
  let bits = 0;
  for (let c = 0; c < CLASSES; c++)
    bits += counts[c]! * (lengths[c]! + Math.max(0, c - 1));
  return LENGTHS_BYTES + Math.ceil(bits / 8);
}

/** Huffman code lengths of at most `MAX_CODE_BITS`: the least weight of rare classes is raised until that holds. */
function codeLengths(counts: Uint32Array): Uint8Array {
  const total = counts.reduce((sum, count) => sum + count, 0);
  for (let least = 1; ; least *= 2) {
    const lengths = new Uint8Array(CLASSES);
    let trees = Array.from(counts, (count, c) => ({
      weight: Math.max(count, least),
      classes: [c],
    })).filter((_, c) => counts[c]! > 0);
    if (trees.length === 1) lengths[trees[0]!.classes[0]!] = 1;
    while (trees.length > 1) {
      trees.sort((a, b) => b.weight - a.weight);
      const [a, b] = [trees.pop()!, trees.pop()!];
      const classes = [...a.classes, ...b.classes];
      for (const c of classes) lengths[c]!++;
      trees = [...trees, { weight: a.weight + b.weight, classes }];
    }
    if (Math.max(...lengths) <= MAX_CODE_BITS || least > total) return lengths;
  }
}

/**
 * Canonical codes: shorter first, then smaller classes; bit-reversed, since bits are written least significant first.
 */
function codesOf(lengths: Uint8Array): Uint16Array {
  const codes = new Uint16Array(CLASSES);
  let next = 0;
  for (let length = 1; length <= MAX_CODE_BITS; length++) {
    for (let c = 0; c < CLASSES; c++) {
      if (lengths[c] !== length) continue;
      for (let bit = 0; bit < length; bit++)
        codes[c]! |= ((next >> bit) & 1) << (length - 1 - bit);
      next++;
    }
    next <<= 1;
  }
  return codes;
}

/** Returns the offset of the next block. */
function writeBlock(
  out: Uint8Array,
  start: number,
  zigzags: Uint16Array,
  lengths: Uint8Array,
): number {
  for (let c = 0; c < CLASSES; c++)
    out[start + (c >> 1)]! |= lengths[c]! << (4 * (c & 1));
  const codes = codesOf(lengths);
  let at = start + LENGTHS_BYTES;
  let [bits, count] = [0, 0];
  for (let i = 0; i < zigzags.length; i++) {
    const z = zigzags[i]!;
    const c = 32 - Math.clz32(z);
    bits |= codes[c]! << count;
    count += lengths[c]!;
    while (count >= 8) {
      out[at++] = bits;
      bits >>>= 8;
      count -= 8;
    }
    if (c < 2) continue;
    bits |= (z - (1 << (c - 1))) << count;
    count += c - 1;
    while (count >= 8) {
      out[at++] = bits;
      bits >>>= 8;
      count -= 8;
    }
  }
  if (count > 0) out[at++] = bits;
  return at;
}

/** Adds a block's differences to `words`; returns the offset of the next block. */
function readBlock(
  words: Uint16Array,
  delta: Uint8Array,
  start: number,
): number {
  const lengths = new Uint8Array(CLASSES);
  for (let c = 0; c < CLASSES; c++)
    lengths[c] = ((delta[start + (c >> 1)] ?? 0) >> (4 * (c & 1))) & 15;
  const table = lookupTable(lengths);
  const mask = (1 << MAX_CODE_BITS) - 1;
  let at = start + LENGTHS_BYTES;
  let [bits, count] = [0, 0];
  for (let i = 0; i < words.length; i++) {
    while (count < 16) {
      bits |= (delta[at++] ?? 0) << count;
      count += 8;
    }
    const found = table[bits & mask]!;
    const c = found >> 4;
    bits >>>= found & 15;
    count -= found & 15;
    let z = c;
    if (c > 1) {
      while (count < c - 1) {
        bits |= (delta[at++] ?? 0) << count;
        count += 8;
      }
      const first = 1 << (c - 1);
      z = first | (bits & (first - 1));
      bits >>>= c - 1;
      count -= c - 1;
    }
    const d = (z >> 1) ^ -(z & 1);
    words[i] = inBits((inOrder(words[i]!) + d) & 0xffff);
  }
  // Whole bytes read ahead belong to the next block.
  return at - (count >> 3);
}

/** By the next `MAX_CODE_BITS` bits: class × 16 + code length. */
function lookupTable(lengths: Uint8Array): Uint16Array {
  const table = new Uint16Array(1 << MAX_CODE_BITS);
  const codes = codesOf(lengths);
  for (let c = 0; c < CLASSES; c++) {
    const length = lengths[c]!;
    if (length === 0) continue;
    for (let entry = codes[c]!; entry < table.length; entry += 1 << length)
      table[entry] = 16 * c + length;
  }
  return table;
}
