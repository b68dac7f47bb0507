/** A directory whose matrices are FP8 with scales of every kind, and one of the floats that they are. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  readSafetensors,
  writeSafetensors,
} from "../../src/formats/containers/safetensors.ts";
import type { Tensor } from "../../src/formats/tensor.ts";
import { decodeFloat8 } from "../reference/mxfp8.ts";
import { normals, uniform } from "./random.ts";

/** Of [.., out, in]: rows and columns that share a scale, its name, and whether it is a power of two. */
const KINDS = [
  { rows: 16, columns: 32, suffix: "_scale_inv", dtype: "F32" },
  { rows: 1, columns: Infinity, suffix: "_scale", dtype: "F32" },
  { rows: 8, columns: 16, suffix: "_scale", dtype: "F8_E8M0" },
  { rows: Infinity, columns: Infinity, suffix: "_scale_inv", dtype: "F32" },
  { rows: 4, columns: Infinity, suffix: "_scale", dtype: "F32" },
] as const;

function kindOf(name: string): (typeof KINDS)[number] {
  // Of what is taken apart it has to matter which part is which.
  if (name.includes("gate_up")) return KINDS[0];
  // Of experts that are stacked one.
  const letters = name.replaceAll(/\d+/g, "");
  const sum = Buffer.from(letters).reduce((n, byte) => (n * 31 + byte) % 97, 7);
  return KINDS[sum % KINDS.length]!;
}

/** Codes, scales, and the values by the reference's decoder. */
function weightOf(
  tensor: Tensor,
  seed: number,
  isScaled: boolean,
): [Tensor[], Float32Array] {
  const { name, shape } = tensor;
  const [out, inner] = shape.slice(-2) as [number, number];
  const matrices = shape.slice(0, -2).reduce((a, b) => a * b, 1);
  const next = uniform(seed);
  const bytes = Uint8Array.from(
    { length: matrices * out * inner },
    () => Math.floor(next() * 0x7e) + (next() < 0.5 ? 0x80 : 0),
  );
  const codes: Tensor = { name, dtype: "F8_E4M3", shape, bytes };
  if (!isScaled)
    return [
      [codes],
      Float32Array.from(bytes, (code) => decodeFloat8(code, "e4m3")),
    ];
  const kind = kindOf(name);
  const [rows, columns] = [
    Math.min(kind.rows, out),
    Math.min(kind.columns, inner),
  ];
  const [down, across] = [Math.ceil(out / rows), Math.ceil(inner / columns)];
  const count = matrices * down * across;
  const exponents = Uint8Array.from({ length: count }, () => 110 + next() * 8);
  const isPower = kind.dtype === "F8_E8M0";
  const scales = isPower
    ? Float32Array.from(exponents, (byte) => 2 ** (byte - 127))
    : normals(count, seed).map((x) => Math.abs(x) / 2000 + 1e-5);
  const values = Float32Array.from(bytes, (code, i) => {
    const row = Math.floor(i / inner);
    const matrix = Math.floor(row / out);
    const at =
      (matrix * down + Math.floor((row % out) / rows)) * across +
      Math.floor((i % inner) / columns);
    return decodeFloat8(code, "e4m3") * scales[at]!;
  });
  const scale: Tensor = {
    name: name + kind.suffix,
    dtype: kind.dtype,
    shape: count === 1 ? [] : [...shape.slice(0, -2), down, across],
    bytes: isPower ? exponents : new Uint8Array(scales.slice().buffer),
  };
  return [[codes, scale], values];
}

const isWeight = ({ name, shape }: Tensor) =>
  shape.length > 1 && !/embed|wte|wpe|norm|router|bias/.test(name);

/** Of the model in `from`: its names and shapes, other values; codes are values unless they are scaled. */
export function writeFloat8(
  from: string,
  float8: string,
  floats: string,
  isScaled = true,
): void {
  const { tensors } = readSafetensors(
    new Uint8Array(readFileSync(join(from, "model.safetensors"))),
  );
  const stored: Tensor[] = [];
  const plain = tensors.map((tensor, i): Tensor => {
    if (!isWeight(tensor)) {
      stored.push(tensor);
      return tensor;
    }
    const [parts, values] = weightOf(tensor, i + 1, isScaled);
    stored.push(...parts);
    return { ...tensor, dtype: "F32", bytes: new Uint8Array(values.buffer) };
  });
  for (const [path, all] of [
    [float8, stored],
    [floats, plain],
  ] as const) {
    mkdirSync(path);
    copyFileSync(join(from, "config.json"), join(path, "config.json"));
    const { chunks } = writeSafetensors(
      all.map((tensor) => ({ ...tensor, chunks: [tensor.bytes] })),
      new Map(),
    );
    writeFileSync(
      join(path, "model.safetensors"),
      Buffer.concat([...chunks].map((chunk) => chunk.slice())),
    );
  }
}
