/** Protobuf's wire format, as far as ONNX files use it. */

/** A number, or the bytes of a string, a message, a packed list or a fixed-size number. */
export type Field = { field: number; value: number; bytes: Uint8Array };

const NONE = new Uint8Array(0);

export function fields(message: Uint8Array): Field[] {
  const found: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++]!;
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) found.push({ field, value: varint(), bytes: NONE });
    else {
      const length = wire === 2 ? varint() : wire === 5 ? 4 : 8;
      found.push({ field, value: 0, bytes: message.subarray(at, at + length) });
      at += length;
    }
  }
  return found;
}

/** The first `field` of a message as a string; empty if it has none. */
export function textOf(message: readonly Field[], field: number): string {
  const found = message.find((each) => each.field === field);
  return new TextDecoder().decode(found?.bytes);
}

/** All of a repeated integer field, packed or not. */
export function integersOf(message: readonly Field[], field: number): number[] {
  return message
    .filter((each) => each.field === field)
    .flatMap(({ value, bytes }) =>
      bytes.length > 0 ? varints(bytes) : [value],
    );
}

function varints(packed: Uint8Array): number[] {
  const values: number[] = [];
  let [value, shift] = [0, 1];
  for (const byte of packed) {
    value += (byte & 127) * shift;
    shift *= 128;
    if (byte >= 128) continue;
    values.push(value);
    [value, shift] = [0, 1];
  }
  return values;
}
