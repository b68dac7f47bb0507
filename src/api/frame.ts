/**
 * The binary frame for a shard's parameters and gradients. Little-endian, a header of 64 bytes, then the payload:
 *
 *   0  "MXF4"      4  version u16    6  kind u8 (1 parameters, 2 gradient)    7  dtype u8
 *   8  step u32   12  microbatch u32 (0 for parameters)
 *  16  start u32  20  length u32     the range of the flat vector, in elements
 *  24  reserved, 8 zero bytes
 *  32  SHA-256 of the 32 bytes above and the payload
 *
 * Payloads: f32 4·length bytes; bf16 2·length; mxfp4 length/2 bytes of elements (even index in the low nibble), then
 * length/32 of scales; mxfp4-eden the same, then length/64 of factors.
 */
import { hex } from "./digest.ts";
import { AppError } from "./errors.ts";
import type { WireDtype } from "./run-config.ts";

export const FRAME_HEADER_BYTES = 64;
const MAGIC = 0x3446584d; // "MXF4"
export const FRAME_VERSION = 2;
const DIGEST_OFFSET = 32;

const KINDS = ["parameters", "gradient"] as const;
type FrameKind = (typeof KINDS)[number];
const DTYPES: readonly WireDtype[] = ["mxfp4", "bf16", "f32", "mxfp4-eden"];

/** A part of a payload, which covers all elements: `bytes` bytes per `elements` elements. */
type Section = { bytes: number; elements: number };
const F32 = { bytes: 4, elements: 1 };
const BF16 = { bytes: 2, elements: 1 };
const NIBBLES = { bytes: 1, elements: 2 };
const SCALES = { bytes: 1, elements: 32 };
const FACTORS = { bytes: 1, elements: 64 };

/** The sections of a payload, in order. */
export const PAYLOAD_SECTIONS: Record<WireDtype, readonly Section[]> = {
  f32: [F32],
  bf16: [BF16],
  mxfp4: [NIBBLES, SCALES],
  "mxfp4-eden": [NIBBLES, SCALES, FACTORS],
};

export type FrameHeader = {
  kind: FrameKind;
  dtype: WireDtype;
  step: number;
  microbatch: number;
  start: number;
  length: number;
};

export type Frame = FrameHeader & {
  /** Lower-case hexadecimal; equal digests mean equal frames. */
  digest: string;
  payload: Uint8Array<ArrayBuffer>;
};

/** Bytes of `length` elements in `dtype`; `length` is a multiple of 32 for mxfp4, of 64 for mxfp4-eden. */
export function payloadBytes(dtype: WireDtype, length: number): number {
  return PAYLOAD_SECTIONS[dtype].reduce(
    (sum, { bytes, elements }) => sum + (length * bytes) / elements,
    0,
  );
}

/** Copies `payload` into a new frame. */
export function encodeFrame(
  header: FrameHeader,
  payload: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  framePayload(bytes).set(payload);
  return sealFrame(header, bytes);
}

/** Bytes of a whole frame. */
export function frameBytes(dtype: WireDtype, length: number): number {
  return FRAME_HEADER_BYTES + payloadBytes(dtype, length);
}

/** A view of a frame's payload. */
export function framePayload(
  bytes: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  return bytes.subarray(FRAME_HEADER_BYTES);
}

/** The digest in a frame's header, not verified. */
export function frameDigest(frame: Uint8Array): string {
  return hex(frame.subarray(DIGEST_OFFSET, FRAME_HEADER_BYTES));
}

/**
 * Writes the header of a frame whose payload is in `bytes` already; returns `bytes`. Errors: RangeError for another
 * length
 */
export async function sealFrame(
  header: FrameHeader,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const expected = payloadBytes(header.dtype, header.length);
  const got = bytes.length - FRAME_HEADER_BYTES;
  if (got !== expected) {
    throw new RangeError(
      `Expected ${expected} payload bytes for ${header.length} ${header.dtype} elements, got ${got}`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, FRAME_VERSION, true);
  view.setUint8(6, KINDS.indexOf(header.kind) + 1);
  view.setUint8(7, DTYPES.indexOf(header.dtype) + 1);
  view.setUint32(8, header.step, true);
  view.setUint32(12, header.microbatch, true);
  view.setUint32(16, header.start, true);
  view.setUint32(20, header.length, true);
  bytes.fill(0, 24, DIGEST_OFFSET);
  bytes.set(await digestOf(bytes), DIGEST_OFFSET);
  return bytes;
}

/** What a frame's first bytes say of it, not verified. Errors: `malformed_frame` */
export function decodeHeader(bytes: Uint8Array<ArrayBuffer>): FrameHeader {
  if (bytes.length < FRAME_HEADER_BYTES) {
    throw malformed(`at least ${FRAME_HEADER_BYTES} bytes`, bytes.length);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0, true) !== MAGIC) {
    throw malformed('the magic "MXF4"', hex(bytes.subarray(0, 4)));
  }
  if (view.getUint16(4, true) !== FRAME_VERSION) {
    throw malformed(`version ${FRAME_VERSION}`, view.getUint16(4, true));
  }
  const kind = KINDS[view.getUint8(6) - 1];
  const dtype = DTYPES[view.getUint8(7) - 1];
  if (!kind) throw malformed("kind 1 or 2", view.getUint8(6));
  if (!dtype) throw malformed("dtype 1, 2, 3 or 4", view.getUint8(7));
  return {
    kind,
    dtype,
    step: view.getUint32(8, true),
    microbatch: view.getUint32(12, true),
    start: view.getUint32(16, true),
    length: view.getUint32(20, true),
  };
}

/** Decodes the frame in `bytes`; its payload is a view. Errors: `malformed_frame`, `digest_mismatch` */
export async function decodeFrame(
  bytes: Uint8Array<ArrayBuffer>,
): Promise<Frame> {
  const header = decodeHeader(bytes);
  if (bytes.length !== frameBytes(header.dtype, header.length))
    throw wrongLength(header, bytes.length);
  const digest = frameDigest(bytes);
  const actual = hex(await digestOf(bytes));
  if (actual !== digest) {
    throw new AppError(
      "digest_mismatch",
      `Expected a frame whose SHA-256 is ${digest}, as its header says; its bytes have ${actual}`,
    );
  }
  return { ...header, digest, payload: framePayload(bytes) };
}

/** The error for a frame of other length than its header says. */
export function wrongLength(
  { dtype, length }: FrameHeader,
  got: string | number,
): AppError {
  const expected = frameBytes(dtype, length);
  return malformed(`${expected} bytes for ${length} ${dtype} elements`, got);
}

/**
 * SHA-256 of all but the digest's own field. Meanwhile the 32 bytes before that field are copied into it, so that the
 * hashed bytes are contiguous and the payload need not be copied.
 */
async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const field = bytes.slice(DIGEST_OFFSET, FRAME_HEADER_BYTES);
  bytes.copyWithin(DIGEST_OFFSET, 0, DIGEST_OFFSET);
  const covered = bytes.subarray(DIGEST_OFFSET);
  const digest = await crypto.subtle.digest("SHA-256", covered);
  bytes.set(field, DIGEST_OFFSET);
  return new Uint8Array(digest);
}

function malformed(expected: string, got: string | number): AppError {
  return new AppError(
    "malformed_frame",
    `Expected a frame with ${expected}, got ${got}`,
  );
}
