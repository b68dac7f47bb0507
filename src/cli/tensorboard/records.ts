/**
 * TFRecord framing, as TensorFlow's `record_writer.cc` has it: the length of what is recorded in 8 bytes, the masked
 * CRC-32C of those, the bytes, and their masked CRC-32C. All numbers are little-endian.
 */

const LENGTH_BYTES = 8;
const CRC_BYTES = 4;
/** Of Castagnoli, its bits from the lowest. */
const POLYNOMIAL = 0x82f63b78;
/** A checksum of bytes that hold checksums should not look like one of them. */
const MASK_DELTA = 0xa282ead8;

export function record(data: Uint8Array): Uint8Array {
  const framed = new Uint8Array(LENGTH_BYTES + data.length + 2 * CRC_BYTES);
  const view = new DataView(framed.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  const length = framed.subarray(0, LENGTH_BYTES);
  view.setUint32(LENGTH_BYTES, maskedCrc(length), true);
  framed.set(data, LENGTH_BYTES + CRC_BYTES);
  view.setUint32(framed.length - CRC_BYTES, maskedCrc(data), true);
  return framed;
}

function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;
}

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++)
      crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
  }
  return ~crc >>> 0;
}
