/** Weights come out of ONNX files complete and as rows along their contraction. */
import { expect, test } from "vitest";
import { onnxMatrices } from "../judges/onnx-weights.ts";
import {
  attribute,
  bytes,
  counted,
  FLOAT,
  graph,
  INT64,
  message,
  node,
  raw,
  RAW_DATA,
  tensor,
  whole,
} from "../judges/onnx-writer.ts";
import { MODELS, modelFile } from "../judges/weight-models.ts";

function matricesOf(top: Buffer) {
  return onnxMatrices(bytes(7, top));
}

function summary(top: Buffer) {
  return matricesOf(top).map(({ name, kind, shape }) => [name, kind, shape]);
}

test("finds what both branches of an If hold, in graphs inside graphs, under names of their own", () => {
  const product = (first: number) =>
    graph(
      [node("MatMul", ["x", "w"], "y")],
      [tensor("w", [32, 32], raw(counted(1024, first)))],
    );
  const constant = node(
    "Constant",
    [],
    "w",
    attribute("value", 5, tensor("", [32, 32], raw(counted(1024, 2)))),
  );
  const inner = graph([
    node(
      "If",
      ["deeper"],
      "z",
      attribute("then_branch", 6, product(1)),
      attribute(
        "else_branch",
        6,
        graph([constant, node("MatMul", ["x", "w"], "y")]),
      ),
    ),
  ]);
  const listed = message(
    bytes(1, "cases"),
    bytes(11, product(3)),
    bytes(11, graph([])),
  );
  const found = matricesOf(
    graph([
      node(
        "If",
        ["deep"],
        "out",
        attribute("then_branch", 6, product(0)),
        attribute("else_branch", 6, inner),
      ),
      node("Switch", ["case"], "chosen", listed),
    ]),
  );
  expect(found.map(({ name, values }) => [name, values[0]])).toEqual([
    ["out/then_branch/w", 0],
    ["out/else_branch/z/then_branch/w", 1],
    ["out/else_branch/z/else_branch/w", 2],
    ["chosen/cases/w", 3],
  ]);
});

test("knows weights of an outer graph by their use inside, also through nodes that move rows", () => {
  const branch = graph([
    node("Slice", ["r", "starts", "ends"], "part"),
    node("Concat", ["part", "part"], "sorted"),
    node("Unsqueeze", ["sorted", "axes"], "recurrence"),
    node("LSTM", ["x", "w", "recurrence"], "y"),
  ]);
  expect(
    summary(
      graph(
        [node("If", ["c"], "out", attribute("then_branch", 6, branch))],
        [tensor("w", [1, 64, 24]), tensor("r", [64, 16])],
      ),
    ),
  ).toEqual([
    ["w", "recurrent", [64, 24]],
    ["r", "recurrent", [64, 16]],
  ]);
});

test("reads raw_data, and float_data packed or value by value", () => {
  const values = counted(1024, 0.5);
  const packed = bytes(4, new Uint8Array(values.buffer));
  const each = Buffer.concat(
    [...values].map((value) => {
      const fixed = Buffer.alloc(5);
      fixed[0] = 8 * 4 + 5;
      fixed.writeFloatLE(value, 1);
      return fixed;
    }),
  );
  const found = [raw(values), packed, each].map((data) =>
    matricesOf(
      graph([node("Conv", ["x", "w"], "y")], [tensor("w", [16, 64], data)]),
    ),
  );
  for (const [matrix] of found) expect(matrix!.values).toEqual(values);
});

test("lays rows along what a layer sums over", () => {
  const group = (count: number) => whole("group", count);
  const layers: [op: string, dims: number[], ...attributes: Buffer[]][] = [
    ["Conv", [8, 16, 3, 3]],
    ["Conv", [40, 32, 1, 1]],
    ["Conv", [120, 1, 3, 3], group(120)],
    ["Conv", [120, 4, 3, 3], group(30)],
    ["ConvTranspose", [24, 16, 2, 2]],
    ["MatMul", [24, 48]],
    ["Gemm", [24, 48]],
    ["Gemm", [24, 48], whole("transB", 1)],
    ["LSTM", [2, 64, 16]],
  ];
  const found = layers.map(([op, dims, ...attributes]) => {
    const [matrix] = matricesOf(
      graph([node(op, ["x", "w"], "y", ...attributes)], [tensor("w", dims)]),
    );
    // The second of a row tells which way the rows go.
    return [op, matrix!.kind, matrix!.shape, matrix!.values[1]];
  });
  expect(found).toEqual([
    ["Conv", "convolution", [8, 144], 1],
    ["Conv", "pointwise convolution", [40, 32], 1],
    ["Conv", "depthwise convolution", [120, 9], 1],
    ["Conv", "convolution", [120, 36], 1],
    ["ConvTranspose", "convolution", [64, 24], 64],
    ["MatMul", "product", [48, 24], 48],
    ["Gemm", "product", [48, 24], 48],
    ["Gemm", "product", [24, 48], 1],
    ["LSTM", "recurrent", [128, 16], 1],
  ]);
});

test("leaves out biases, other types, what is small and what no layer multiplies by", () => {
  expect(
    summary(
      graph(
        [
          node("Gemm", ["x", "small", "bias"], "y"),
          node("MatMul", ["y", "integers"], "z"),
          node("Add", ["z", "table"], "out"),
        ],
        [
          tensor("bias", [2048]),
          tensor("small", [31, 33]),
          tensor("integers", [32, 32], raw(counted(1024)), INT64),
          tensor("table", [32, 32]),
        ],
      ),
    ),
  ).toEqual([]);
});

test("refuses a tensor whose data is elsewhere or cut", () => {
  const cut = graph(
    [node("MatMul", ["x", "w"], "y")],
    [tensor("w", [32, 32], raw(counted(1023)))],
  );
  expect(() => matricesOf(cut)).toThrow(
    'Expected 4096 bytes of tensor "w" [32, 32], got 4092',
  );
});

/**
 * The lengths of a file's f32 tensors of 1024 values and more, found without its structure: by the
 * bytes that writers put down for `data_type` FLOAT, perhaps a name, and a `raw_data` of two bytes'
 * length or more.
 */
function scan(file: Uint8Array): number[] {
  const lengths: number[] = [];
  for (let at = 0; at < file.length; at++) {
    if (file[at] !== 8 * 2 || file[at + 1] !== FLOAT) continue;
    let next = at + 2;
    if (file[next] === 8 * 8 + 2) next += 2 + file[next + 1]!;
    if (file[next++] !== 8 * RAW_DATA + 2) continue;
    let [length, shift] = [0, 1];
    for (; file[next]! >= 128; shift *= 128)
      length += (file[next++]! & 127) * shift;
    length += file[next++]! * shift;
    if (length < 4096) continue;
    lengths.push(length);
    at = next + length - 1;
  }
  return lengths;
}

test.each(MODELS)("finds all large tensors of $title but biases", (model) => {
  const file = modelFile(model);
  const matrices = onnxMatrices(file);
  const left = scan(file);
  let elements = 0;
  for (const { name, values } of matrices) {
    const at = left.indexOf(4 * values.length);
    expect(at, `${name}, of ${values.length} values`).not.toBe(-1);
    left.splice(at, 1);
    elements += values.length;
  }
  // A layer has one bias a row; recurrent ones have two.
  const rows = new Set(matrices.map(({ shape }) => shape[0]));
  for (const length of left) expect(rows).toContain(length / 4);
  expect(4 * elements).toBeLessThan(file.length);
  // Structure, biases and what is small are the lesser part.
  expect(4 * elements).toBeGreaterThan(file.length / 2);
});
