/** Tensor files as request and answer. */
import { concatenate } from "../../src/formats/stream/bytes.ts";
import type { Dtype } from "../../src/formats/dtype.ts";
import {
  readSafetensors,
  type SafetensorsFile,
  writeSafetensors,
} from "../../src/formats/containers/safetensors.ts";
import type { Tensor } from "../../src/formats/tensor.ts";
import { bytesOf, send } from "./support.ts";

export type Input = {
  name: string;
  dtype: Dtype;
  shape: number[];
  bytes: Uint8Array;
};

export function f32(
  name: string,
  shape: number[],
  values: ArrayLike<number>,
): Input {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return { name, dtype: "F32", shape, bytes };
}

export function u8(
  name: string,
  shape: number[],
  values: ArrayLike<number>,
): Input {
  return { name, dtype: "U8", shape, bytes: Uint8Array.from(values) };
}

export function fileOf(
  tensors: readonly Input[],
  metadata: Record<string, string> = {},
): Uint8Array<ArrayBuffer> {
  const sources = tensors.map((tensor) => ({
    ...tensor,
    chunks: [tensor.bytes],
  }));
  const { bytes, chunks } = writeSafetensors(
    sources,
    new Map(Object.entries(metadata)),
  );
  return concatenate(bytes, chunks);
}

/** A file whose tensors keep this order, as our own writer would not. */
export function fileInOrder(
  tensors: readonly Input[],
  metadata?: Record<string, string>,
): Uint8Array<ArrayBuffer> {
  let at = 0;
  const entries = tensors.map(({ name, dtype, shape, bytes }) => [
    name,
    { dtype, shape, data_offsets: [at, (at += bytes.length)] },
  ]);
  const header = {
    ...(metadata && { __metadata__: metadata }),
    ...Object.fromEntries(entries),
  };
  return withHeader(
    JSON.stringify(header),
    tensors.map(({ bytes }) => bytes),
  );
}

export function withHeader(
  header: string,
  data: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(header);
  const head = new Uint8Array(8 + text.length);
  new DataView(head.buffer).setBigUint64(0, BigInt(text.length), true);
  head.set(text, 8);
  const parts = [head, ...data];
  return concatenate(
    parts.reduce((sum, part) => sum + part.length, 0),
    parts,
  );
}

/** As a network sends it: with Content-Length. */
export function post(
  path: string,
  body: Uint8Array | string,
  headers: Record<string, string> = {},
): Promise<Response> {
  const bytes =
    typeof body === "string" ? new TextEncoder().encode(body) : body;
  return send(path, {
    method: "POST",
    body: bytes as Uint8Array<ArrayBuffer>,
    headers: {
      "Content-Type": "application/octet-stream",
      "Content-Length": `${bytes.length}`,
      ...headers,
    },
  });
}

export async function read(response: Response): Promise<SafetensorsFile> {
  return readSafetensors(await bytesOf(response));
}

export function named({ tensors }: SafetensorsFile, name: string): Tensor {
  const found = tensors.find((tensor) => tensor.name === name);
  if (!found)
    throw new Error(
      `no ${name} among ${tensors.map((t) => t.name).join(", ")}`,
    );
  return found;
}

export function floats(file: SafetensorsFile, name: string): number[] {
  const { dtype, bytes } = named(file, name);
  const { buffer } = bytes.slice();
  if (dtype === "F32") return [...new Float32Array(buffer)];
  if (dtype === "F16") return [...new Float16Array(buffer)];
  return Array.from(
    new Uint16Array(buffer),
    (bits) => new Float32Array(new Uint32Array([bits << 16]).buffer)[0]!,
  );
}
