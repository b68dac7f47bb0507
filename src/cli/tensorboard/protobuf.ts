/** The subset of protobuf's wire format that event files need; writing only. */

/** Length-delimited, unless `wire` says otherwise. */
export type Field = { field: number; bytes: Uint8Array; wire?: number };

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

export function message(fields: readonly Field[]): Uint8Array {
  return Buffer.concat(
    fields.flatMap(({ field, bytes, wire = LENGTH_DELIMITED }) => [
      varintBytes(field * 8 + wire),
      ...(wire === LENGTH_DELIMITED ? [varintBytes(bytes.length)] : []),
      bytes,
    ]),
  );
}

export function text(field: number, value: string): Field {
  return { field, bytes: new TextEncoder().encode(value) };
}

export function varint(field: number, value: number): Field {
  return { field, bytes: varintBytes(value), wire: VARINT };
}

export function double(field: number, value: number): Field {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value, true);
  return { field, bytes, wire: FIXED64 };
}

export function float(field: number, value: number): Field {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return { field, bytes, wire: FIXED32 };
}

/** Seven bits per byte, lowest first; the last byte's high bit is 0. */
function varintBytes(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128))
    bytes.push((value % 128) + 128);
  return Uint8Array.from([...bytes, value]);
}
