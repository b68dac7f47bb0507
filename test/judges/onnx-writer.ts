/** Protobuf, and as much of ONNX as a test needs to build a file, from the field numbers of onnx.proto. */
export const FLOAT = 1;
export const INT64 = 7;
export const RAW_DATA = 9;

function varint(value: number): number[] {
  return value < 128
    ? [value]
    : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}

export function bytes(field: number, content: Uint8Array | string): Buffer {
  const body = Buffer.from(content);
  return Buffer.concat([
    Buffer.from([...varint(8 * field + 2), ...varint(body.length)]),
    body,
  ]);
}

function integer(field: number, value: number): Buffer {
  return Buffer.from([...varint(8 * field), ...varint(value)]);
}

export function message(...parts: Uint8Array[]): Buffer {
  return Buffer.concat(parts);
}

/** 0, 1, 2, …: each value tells where it stood. */
export function counted(length: number, first = 0): Float32Array {
  return Float32Array.from({ length }, (_, i) => first + i);
}

export function raw(values: Float32Array): Buffer {
  return bytes(RAW_DATA, new Uint8Array(values.buffer));
}

export function tensor(
  name: string,
  dims: number[],
  data: Uint8Array = raw(counted(dims.reduce((a, b) => a * b))),
  type = FLOAT,
): Buffer {
  return message(
    ...dims.map((size) => integer(1, size)),
    integer(2, type),
    bytes(8, name),
    data,
  );
}

export function node(
  op: string,
  inputs: string[],
  output: string,
  ...attributes: Buffer[]
): Buffer {
  return message(
    ...inputs.map((input) => bytes(1, input)),
    bytes(2, output),
    bytes(4, op),
    ...attributes.map((attribute) => bytes(5, attribute)),
  );
}

export function graph(nodes: Buffer[], initializers: Buffer[] = []): Buffer {
  return message(
    ...nodes.map((each) => bytes(1, each)),
    ...initializers.map((each) => bytes(5, each)),
  );
}

export function attribute(name: string, field: number, value: Buffer): Buffer {
  return message(bytes(1, name), bytes(field, value));
}

export function whole(name: string, value: number): Buffer {
  return message(bytes(1, name), integer(3, value));
}
