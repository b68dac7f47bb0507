/** Models' directories of random values, by the architectures of transformers, and what is in a directory. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import type { Tensor } from "../../src/formats/tensor.ts";
import { dequantizeMxfp4, quantizeMxfp4 } from "../reference/mxfp4.ts";
import { normals } from "./random.ts";

export type Shapes = { name: string; shape: number[]; role: string }[];
export const { models } = JSON.parse(
  gunzipSync(
    readFileSync(
      join(import.meta.dirname, "../fixtures/architectures.json.gz"),
    ),
  ).toString(),
) as { models: Record<string, { tensors: Shapes }> };

/** The values of a tensor of a model, by its name. */
export function valuesOf(name: string, count: number): Float32Array {
  const seed = Buffer.from(name).reduce((n, byte) => (n * 31 + byte) % 9973, 7);
  return normals(count, seed);
}

export const count = (shape: readonly number[]) =>
  shape.reduce((a, b) => a * b, 1);

/** A directory in `files` files, with a tokenizer and another form of the weights. */
export function writeModel(path: string, model: string, files: number): void {
  mkdirSync(path);
  const { tensors } = models[model]!;
  const weight_map: Record<string, string> = {};
  const each = Math.ceil(tensors.length / files);
  for (let i = 0; i < files; i++) {
    // Out of order, as no file promises any.
    const own = tensors.slice(i * each, (i + 1) * each).toReversed();
    const file =
      files === 1
        ? "model.safetensors"
        : `model-0000${i + 1}-of-0000${files}.safetensors`;
    let at = 0;
    const header = Object.fromEntries(
      own.map(({ name, shape }) => {
        weight_map[name] = file;
        const start = at;
        at += 4 * count(shape);
        return [name, { dtype: "F32", shape, data_offsets: [start, at] }];
      }),
    );
    const json = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    const data = own.map(({ name, shape }) =>
      Buffer.from(valuesOf(name, count(shape)).buffer),
    );
    writeFileSync(join(path, file), Buffer.concat([length, json, ...data]));
  }
  if (files > 1)
    writeFileSync(
      join(path, "model.safetensors.index.json"),
      JSON.stringify({ metadata: {}, weight_map }),
    );
  writeFileSync(
    join(path, "config.json"),
    JSON.stringify({ model_type: model }),
  );
  writeFileSync(join(path, "tokenizer.json"), "{}");
  writeFileSync(join(path, "pytorch_model.bin"), "other weights");
  mkdirSync(join(path, "original"));
}

/** All tensors of a directory. */
export function tensorsOf(path: string): Map<string, Tensor> {
  const files = readdirSync(path).filter((name) =>
    name.endsWith(".safetensors"),
  );
  return new Map(
    files.flatMap((file) =>
      readSafetensors(
        new Uint8Array(readFileSync(join(path, file))),
      ).tensors.map((tensor) => [tensor.name, tensor] as const),
    ),
  );
}

/** The weight [.., out, in] of a model as the reference quantizer has it. */
export function expected({ name, shape, role }: Shapes[number]): number[] {
  const values = valuesOf(name, count(shape));
  const [rows, columns] = shape.slice(-2) as [number, number];
  const turned =
    role === "linear"
      ? values
      : Float32Array.from(values, (_, i) => {
          const matrix = Math.floor(i / (rows * columns));
          const [column, row] = [Math.floor(i / rows) % columns, i % rows];
          return values[(matrix * rows + row) * columns + column]!;
        });
  return [
    ...dequantizeMxfp4(quantizeMxfp4(turned, { ties: "even" }, "floor", 1), 1),
  ];
}
