/**
 * TFRecord framing as in TensorFlow's `record_writer.cc`: the length in 8 bytes, its masked CRC-32C, the data, and its
 * masked CRC-32C. Little-endian.
 */

const LENGTH_BYTES = 8;
const CRC_BYTES = 4;
/** CRC-32C (Castagnoli), bit-reversed. */
const POLYNOMIAL = 0x82f63b78;
/** Masks a CRC, since computing a CRC of data that contains CRCs is problematic. */
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
