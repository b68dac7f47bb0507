/** Writes the header of a safetensors file; the tensors' data follows in the given order. */
import { AppError } from "../../api/errors.ts";
import { type Dtype, dtypeBytes } from "../dtype.ts";
import { METADATA } from "./safetensors-json.ts";
import { LENGTH_BYTES, type Metadata } from "./safetensors-reader.ts";
import { compareNames, elementCount, type TensorHead } from "../tensor.ts";

/** The data starts at a multiple of this, so that views of the tensors are aligned. */
export const ALIGNMENT = 8;

/** Everything before the data of these tensors, which follow in this order. Errors: `name_collision` */
export function writeHead(
  tensors: readonly TensorHead<Dtype>[],
  metadata: Metadata,
): { head: Uint8Array<ArrayBuffer>; dataBytes: number } {
  checkNames(tensors);
  const entries: string[] = [];
  if (metadata.size > 0) {
    const pairs = [...metadata].sort(([a], [b]) => compareNames(a, b));
    entries.push(member(METADATA, Object.fromEntries(pairs)));
  }
  let position = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = position + dtypeBytes(dtype, elementCount(shape));
    entries.push(member(name, { dtype, shape, data_offsets: [position, end] }));
    position = end;
  }
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const headerBytes = Math.ceil(json.length / ALIGNMENT) * ALIGNMENT;
  const head = new Uint8Array(LENGTH_BYTES + headerBytes).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true);
  head.set(json, LENGTH_BYTES);
  return { head, dataBytes: position };
}

function checkNames(tensors: readonly TensorHead[]): void {
  const names = new Set([METADATA]);
  for (const { name } of tensors) {
    if (names.has(name)) {
      throw new AppError(
        "name_collision",
        `Expected distinct names in the output, got "${name}" twice`,
      );
    }
    names.add(name);
  }
}

/** One `"name": value` of a JSON object, whose members keep the order in which they are written. */
function member(name: string, value: object): string {
  return `${JSON.stringify(name)}:${JSON.stringify(value)}`;
}
