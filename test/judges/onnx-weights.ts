/** The f32 matrices of an ONNX file: its initializers and constants, by protobuf's wire format. */
import { readFileSync } from "node:fs";

export type Matrix = {
  name: string;
  shape: [rows: number, k: number];
  values: Float32Array<ArrayBuffer>;
};

const FLOAT = 1;

/**
 * Weights of at least 1024 elements as rows along their contraction: convolutions [out, in · h · w], and
 * products' [in, out] transposed.
 */
export function onnxMatrices(path: string): Matrix[] {
  const graph = fields(new Uint8Array(readFileSync(path))).find(
    ({ field }) => field === 7,
  )!.bytes;
  const tensors = fields(graph).flatMap(({ field, bytes }) => {
    if (field === 5) return [{ name: undefined, bytes }];
    if (field !== 1) return [];
    const node = fields(bytes);
    const output = node.find((each) => each.field === 2);
    return node
      .filter((each) => each.field === 5)
      .flatMap((attribute) =>
        fields(attribute.bytes).filter((each) => each.field === 5),
      )
      .map((tensor) => ({
        name: output && text(output.bytes),
        bytes: tensor.bytes,
      }));
  });
  return tensors.flatMap(({ name, bytes }) => matrixOf(bytes, name) ?? []);
}

function matrixOf(
  tensor: Uint8Array,
  nodeName: string | undefined,
): Matrix | undefined {
  const parts = fields(tensor);
  const dims = parts
    .filter(({ field }) => field === 1)
    .flatMap(({ value, bytes }) =>
      bytes.length > 0 ? varints(bytes) : [value],
    );
  const type = parts.find(({ field }) => field === 2)?.value;
  const own = parts.find(({ field }) => field === 8);
  const data = parts.find(({ field }) => field === 9 || field === 4)?.bytes;
  const length = dims.reduce((count, size) => count * size, 1);
  if (
    type !== FLOAT ||
    dims.length < 2 ||
    length < 1024 ||
    data?.length !== 4 * length
  )
    return undefined;
  const name = (own && text(own.bytes)) || nodeName || "unnamed";
  const values = new Float32Array(data.slice().buffer);
  if (dims.length > 2) {
    return { name, shape: [dims[0]!, length / dims[0]!], values };
  }
  const [k, rows] = dims as [number, number];
  const transposed = Float32Array.from(
    values,
    (_, i) => values[(i % k) * rows + Math.floor(i / k)]!,
  );
  return { name, shape: [rows, k], values: transposed };
}

type Field = { field: number; value: number; bytes: Uint8Array };

/** The fields of a message: numbers, or bytes of strings and messages. */
function fields(message: Uint8Array): Field[] {
  const found: Field[] = [];
  const NONE = new Uint8Array(0);
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

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
