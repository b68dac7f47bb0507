/** The bytes of an ONNX model with one node, written by hand: https://onnx.ai/onnx/repo-docs/IR.html */

type Tensor = {
  name: string;
  dims: readonly number[];
  data: Float32Array | Uint8Array;
};

export type OneNode = {
  opType: string;
  /** "" is ONNX's own. */
  domain: string;
  attributes: Record<string, number>;
  /** The graph's one input, f32; the node's first. */
  input: { name: string; dims: readonly number[] };
  /** The node's other inputs: constants. */
  constants: readonly Tensor[];
  /** The graph's one output, f32. */
  output: { name: string; dims: readonly number[] };
};

const FLOAT = 1;
const UINT8 = 2;
const ATTRIBUTE_INT = 2;

/** A ModelProto. Numbers in calls are protobuf field numbers of onnx.proto. */
export function oneNodeModel(node: OneNode): Uint8Array {
  const { input, constants, output } = node;
  const graph = message(
    nested(1, nodeProto(node)),
    text(2, "graph"),
    ...constants.map((tensor) => nested(5, tensorProto(tensor))),
    nested(11, valueInfo(input)),
    nested(12, valueInfo(output)),
  );
  return message(
    whole(1, 8), // ir_version
    nested(7, graph),
    nested(8, message(text(1, ""), whole(2, 17))), // opset_import
    nested(8, message(text(1, "com.microsoft"), whole(2, 1))),
  );
}

function nodeProto(node: OneNode): Uint8Array {
  const { opType, domain, attributes, input, constants, output } = node;
  return message(
    text(1, input.name),
    ...constants.map(({ name }) => text(1, name)),
    text(2, output.name),
    text(4, opType),
    ...Object.entries(attributes).map(([name, value]) =>
      nested(
        5,
        message(text(1, name), whole(3, value), whole(20, ATTRIBUTE_INT)),
      ),
    ),
    text(7, domain),
  );
}

function tensorProto({ name, dims, data }: Tensor): Uint8Array {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return message(
    ...dims.map((dim) => whole(1, dim)),
    whole(2, data instanceof Float32Array ? FLOAT : UINT8),
    text(8, name),
    nested(9, bytes),
  );
}

function valueInfo({ name, dims }: OneNode["input"]): Uint8Array {
  const shape = message(
    ...dims.map((dim) => nested(1, message(whole(1, dim)))),
  );
  const tensor = message(whole(1, FLOAT), nested(2, shape));
  return message(text(1, name), nested(2, message(nested(1, tensor))));
}

/** Fields one after the other. */
function message(...fields: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(fields.reduce((sum, f) => sum + f.length, 0));
  let at = 0;
  for (const field of fields) {
    all.set(field, at);
    at += field.length;
  }
  return all;
}

/** Wire type 0. */
function whole(field: number, value: number): Uint8Array {
  return Uint8Array.from([...varint(field << 3), ...varint(value)]);
}

/** Wire type 2. */
function nested(field: number, bytes: Uint8Array): Uint8Array {
  const head = [...varint((field << 3) | 2), ...varint(bytes.length)];
  return message(Uint8Array.from(head), bytes);
}

function text(field: number, value: string): Uint8Array {
  return nested(field, new TextEncoder().encode(value));
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) {
    bytes.push((value % 128) | 128);
  }
  return [...bytes, value];
}
