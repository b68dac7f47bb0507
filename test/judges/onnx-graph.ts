/** The graph of an ONNX file: its nodes, the graphs inside them, and its f32 tensors. */
import { type Field, fields, integersOf, textOf } from "./protobuf.ts";

export type Tensor = {
  name: string;
  dims: number[];
  values: Float32Array<ArrayBuffer>;
};

export type Node = {
  op: string;
  inputs: string[];
  outputs: string[];
  /** Its integer attributes; those left out have their default, 0 or 1. */
  integers: Map<string, number>;
  /** Graphs that it runs, such as both branches of an `If`. */
  graphs: { attribute: string; graph: Graph }[];
};

/** Names of an outer graph are seen by the graphs inside, which may not reuse them; two branches may. */
export type Graph = {
  nodes: Node[];
  /** Initializers, and the values of `Constant` nodes by their output's name. */
  tensors: Tensor[];
};

/** DataType of TensorProto. */
const FLOAT = 1;

export function readModel(file: Uint8Array): Graph {
  return readGraph(fields(file).find(({ field }) => field === 7)!.bytes);
}

function readGraph(message: Uint8Array): Graph {
  const parts = fields(message);
  const graph: Graph = { nodes: [], tensors: [] };
  for (const { field, bytes } of parts) {
    if (field === 1) addNode(graph, fields(bytes));
    if (field === 5) addTensor(graph, fields(bytes));
  }
  return graph;
}

function addNode(graph: Graph, parts: readonly Field[]): void {
  const texts = (wanted: number) =>
    parts.flatMap((each) =>
      each.field === wanted ? [textOf([each], wanted)] : [],
    );
  const node: Node = {
    op: textOf(parts, 4),
    inputs: texts(1),
    outputs: texts(2),
    integers: new Map(),
    graphs: [],
  };
  for (const { field, bytes } of parts) {
    if (field !== 5) continue;
    const attribute = fields(bytes);
    const name = textOf(attribute, 1);
    for (const each of attribute) {
      if (each.field === 3) node.integers.set(name, each.value);
      if (each.field === 5)
        addTensor(graph, fields(each.bytes), node.outputs[0]);
      // One graph (`g`), or a list of them (`graphs`).
      if (each.field === 6 || each.field === 11) {
        node.graphs.push({ attribute: name, graph: readGraph(each.bytes) });
      }
    }
  }
  graph.nodes.push(node);
}

function addTensor(
  graph: Graph,
  parts: readonly Field[],
  name: string = textOf(parts, 8),
): void {
  if (integersOf(parts, 2)[0] !== FLOAT) return;
  const dims = integersOf(parts, 1);
  // `raw_data`, or `float_data`, which may come as one packed field or value by value.
  const data = parts.filter(({ field }) => field === 9 || field === 4);
  const bytes = Buffer.concat(data.map((each) => each.bytes));
  const length = dims.reduce((count, size) => count * size, 1);
  if (bytes.length !== 4 * length) {
    throw new Error(
      `Expected ${4 * length} bytes of tensor "${name}" [${dims.join(", ")}], got ${bytes.length}`,
    );
  }
  const values = new Float32Array(new Uint8Array(bytes).buffer);
  graph.tensors.push({ name, dims, values });
}
