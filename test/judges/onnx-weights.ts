/** The weights of an ONNX file as matrices, each of which has rows along what a layer sums over. */
import { type Graph, type Node, readModel, type Tensor } from "./onnx-graph.ts";

export type Kind =
  | "convolution"
  | "pointwise convolution"
  | "depthwise convolution"
  | "product"
  | "recurrent";

export type Matrix = {
  name: string;
  kind: Kind;
  shape: [rows: number, k: number];
  values: Float32Array<ArrayBuffer>;
};

const LEAST_ELEMENTS = 1024;

/** The operands of each operation that hold weights. */
const WEIGHTS: Readonly<Record<string, readonly number[]>> = {
  Conv: [1],
  ConvTranspose: [1],
  Gemm: [1],
  GRU: [1, 2],
  LSTM: [1, 2],
  MatMul: [1],
  RNN: [1, 2],
};

/** What exporters put between recurrent weights and their layer, which orders the gates by rows. */
const MOVES_ROWS = new Set(["Concat", "Identity", "Slice", "Unsqueeze"]);

/** The f32 weights of at least 1024 elements. */
export function onnxMatrices(file: Uint8Array): Matrix[] {
  return matricesOf(readModel(file), "");
}

/** `prefix` tells apart what branches give the same name. */
function matricesOf(graph: Graph, prefix: string): Matrix[] {
  const own = graph.tensors
    .filter(({ values }) => values.length >= LEAST_ELEMENTS)
    .flatMap((tensor) => {
      const layer = layerOf(graph, tensor.name);
      return layer ? [matrixOf(tensor, layer, prefix + tensor.name)] : [];
    });
  const inner = graph.nodes.flatMap(({ outputs, graphs }) =>
    graphs.flatMap((each) =>
      matricesOf(each.graph, `${prefix}${outputs[0]}/${each.attribute}/`),
    ),
  );
  return [...own, ...inner];
}

/** The node that has these values as weights, in this graph or inside. */
function layerOf(graph: Graph, name: string): Node | undefined {
  for (const node of graph.nodes) {
    const operand = node.inputs.indexOf(name);
    if (WEIGHTS[node.op]?.includes(operand)) return node;
    const found =
      operand >= 0 && MOVES_ROWS.has(node.op)
        ? layerOf(graph, node.outputs[0]!)
        : undefined;
    if (found) return found;
    for (const each of node.graphs) {
      const inside = layerOf(each.graph, name);
      if (inside) return inside;
    }
  }
  return undefined;
}

function matrixOf(
  { dims, values }: Tensor,
  { op, integers }: Node,
  name: string,
): Matrix {
  const first = dims[0]!;
  const rest = values.length / first;
  const asIs = (kind: Kind, rows: number): Matrix => {
    return { name, kind, shape: [rows, values.length / rows], values };
  };
  const transposed = (kind: Kind): Matrix => {
    const turned = Float32Array.from(
      values,
      (_, i) => values[(i % first) * rest + Math.floor(i / first)]!,
    );
    return { name, kind, shape: [rest, first], values: turned };
  };
  const group = integers.get("group") ?? 1;
  switch (op) {
    case "Conv": // [out, in / group, …]
      if (group > 1 && dims[1] === 1) {
        return asIs("depthwise convolution", first);
      }
      return asIs(
        rest === dims[1] ? "pointwise convolution" : "convolution",
        first,
      );
    case "ConvTranspose": // [in, out / group, …]
      if (group > 1) throw new Error(`Expected one group of "${name}"`);
      return transposed("convolution");
    case "Gemm": // [in, out], or [out, in]
      return integers.get("transB")
        ? asIs("product", first)
        : transposed("product");
    case "MatMul": // [in, out]
      if (dims.length > 2) throw new Error(`Expected one matrix in "${name}"`);
      return transposed("product");
    default: // [directions, gates · hidden, in], or without the directions before they are added
      return asIs("recurrent", values.length / dims.at(-1)!);
  }
}
