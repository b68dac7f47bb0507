/** A golden safetensors file: its metadata, and its tensors by name as typed arrays. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import type { Tensor } from "../../src/formats/tensor.ts";

/** Where the goldens are; GOLDEN_DIR names another folder with files of the same names. */
const FOLDER =
  process.env.GOLDEN_DIR ?? join(import.meta.dirname, "../fixtures");

export class Golden {
  readonly metadata: ReadonlyMap<string, string>;
  readonly #tensors: Map<string, Tensor>;

  constructor(file: string) {
    // Plain bytes: a Buffer's `slice` is a view, not a copy.
    const bytes = new Uint8Array(readFileSync(join(FOLDER, file)));
    const { metadata, tensors } = readSafetensors(bytes);
    this.metadata = metadata;
    this.#tensors = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  }

  names(): string[] {
    return [...this.#tensors.keys()];
  }

  shape(name: string): readonly number[] {
    return this.#tensor(name).shape;
  }

  /** A number that the metadata holds. */
  number(key: string): number {
    const value = Number(this.metadata.get(key));
    if (Number.isNaN(value))
      throw new Error(`Expected a number under \`${key}\` in the metadata`);
    return value;
  }

  f32(name: string): Float32Array {
    return new Float32Array(this.#bytes(name, "F32"));
  }

  f64(name: string): Float64Array {
    return new Float64Array(this.#bytes(name, "F64"));
  }

  i32(name: string): Int32Array {
    return new Int32Array(this.#bytes(name, "I32"));
  }

  #tensor(name: string): Tensor {
    const tensor = this.#tensors.get(name);
    if (!tensor)
      throw new Error(`Expected a tensor \`${name}\` in the golden file`);
    return tensor;
  }

  #bytes(name: string, dtype: string): ArrayBuffer {
    const tensor = this.#tensor(name);
    if (tensor.dtype !== dtype)
      throw new Error(`Expected \`${name}\` in ${dtype}, got ${tensor.dtype}`);
    return tensor.bytes.slice().buffer as ArrayBuffer;
  }
}
