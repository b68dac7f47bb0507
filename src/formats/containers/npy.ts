/**
 * NumPy's .npy: "\x93NUMPY", version, header length (u16, or u32 from version 2), then a Python
 * literal `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }` and the values.
 */
import { AppError } from "../../api/errors.ts";
import { type Dtype, dtypeBytes } from "../dtype.ts";
import type { ByteSource } from "../stream/source.ts";
import { elementCount, isCountable, type TensorHead } from "../tensor.ts";
import type { Container } from "./container.ts";
import { malformedFile } from "./malformed.ts";
import { oneTensorFile } from "./safetensors-file.ts";

const malformed = malformedFile(".npy");

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
const MAX_HEADER_BYTES = 64 * 1024;

/** By kind and bytes, which a byte order precedes. */
const DTYPES: Record<string, Dtype> = {
  f8: "F64",
  f4: "F32",
  f2: "F16",
  i8: "I64",
  i4: "I32",
  i2: "I16",
  i1: "I8",
  u8: "U64",
  u4: "U32",
  u2: "U16",
  u1: "U8",
  b1: "BOOL",
  c8: "C64",
};

/**
 * One tensor, called `x`.
 * Errors: `malformed_body`, `unsupported_dtype`, `shape_mismatch`
 */
export const NPY: Container = {
  recognizes: (first) => MAGIC.every((byte, i) => first[i] === byte),
  async readHead(source, first, fileBytes) {
    const { tensor, headBytes } = await readNpyHead(source, first, fileBytes);
    return oneTensorFile(tensor, headBytes);
  },
};

/** Reads the rest of a header after `first`. Errors: as of `NPY` */
export async function readNpyHead(
  source: ByteSource,
  first: Uint8Array,
  fileBytes: number,
): Promise<{ tensor: TensorHead<Dtype>; headBytes: number }> {
  const [version, minor] = [first[6]!, first[7]!];
  if (version < 1 || version > 3 || minor !== 0)
    throw malformed("version 1.0, 2.0 or 3.0", `${version}.${minor}`);
  const lengthBytes = version === 1 ? 2 : 4;
  const left = fileBytes - first.length - lengthBytes;
  if (left < 0) throw malformed("a header length", "the end");
  const field = await source.take(lengthBytes);
  const view = new DataView(field.buffer, field.byteOffset, lengthBytes);
  const length =
    version === 1 ? view.getUint16(0, true) : view.getUint32(0, true);
  const limit = Math.min(MAX_HEADER_BYTES, left);
  if (length > limit)
    throw malformed(`a header of at most ${limit} bytes`, `${length}`);
  const tensor = readLiteral(
    new TextDecoder().decode(await source.take(length)),
  );
  const headBytes = 8 + lengthBytes + length;
  const expected = dtypeBytes(tensor.dtype, elementCount(tensor.shape));
  if (fileBytes - headBytes !== expected) {
    throw malformed(
      `${expected} bytes for ${tensor.dtype} [${tensor.shape.join(", ")}]`,
      `${fileBytes - headBytes}`,
    );
  }
  return { tensor, headBytes };
}

/**
 * Matches one member of the literal's dict: a key with a string, boolean or tuple of sizes. A tuple has a comma unless
 * it is empty: `(3)` is a number.
 */
const MEMBER =
  /\s*(?:(['"])descr\1\s*:\s*(['"])(?<descr>[^'"\\]*)\2|(['"])fortran_order\4\s*:\s*(?<order>True|False)|(['"])shape\6\s*:\s*\((?<sizes>\s*|[\d\sL]*,[\d\s,L]*)\))\s*(?:,|(?=\}\s*$))/y;
/** Python 2 wrote `L` after a long. */
const SIZE = /^(?:0|[1-9]\d*)L?$/;

function readLiteral(text: string): TensorHead<Dtype> {
  if (/(['"])descr\1\s*:\s*[[(]/.test(text)) {
    throw new AppError(
      "unsupported_dtype",
      "Expected a .npy of one number for each element, got a structured dtype; save its fields separately",
    );
  }
  const { descr, order, sizes } = readMembers(text) ?? {};
  if (descr === undefined || order === undefined || sizes === undefined) {
    throw malformed(
      "a header of descr, fortran_order and shape, each once",
      `"${text.slice(0, 80)}"`,
    );
  }
  const dtype = dtypeOf(descr);
  if (dtype === undefined) {
    const remedy = remedyOf(descr);
    throw new AppError(
      "unsupported_dtype",
      `Expected a little-endian .npy of ${Object.keys(DTYPES).join(", ")}, got ${descr.slice(0, 80)}${remedy}`,
    );
  }
  const shape = readSizes(sizes);
  // With at most one dimension of more than one element, both orders are the same.
  const hasOrder =
    shape.filter((size) => size > 1).length > 1 && !shape.includes(0);
  if (order === "True" && hasOrder) {
    throw new AppError(
      "shape_mismatch",
      "Expected a .npy in C order, got Fortran order; save numpy.ascontiguousarray(x)",
    );
  }
  return { name: "x", dtype, shape };
}

/**
 * The dtype that NumPy reads on a little-endian machine, whose own order `=`, `|` and none stand for; a single byte has no
 * order, and some writers put `<` before it. Undefined for others.
 */
function dtypeOf(descr: string): Dtype | undefined {
  const [, order, name] = /^([<>=|]?)(\w+)$/.exec(descr) ?? [];
  if (name === undefined || !Object.hasOwn(DTYPES, name)) return undefined;
  return order === ">" && !name.endsWith("1") ? undefined : DTYPES[name];
}

type Member = "descr" | "order" | "sizes";

/** The text of each value; undefined if this is no such dict, or it has a duplicate key. */
function readMembers(
  text: string,
): Partial<Record<Member, string>> | undefined {
  const open = /^\s*\{/.exec(text);
  if (!open) return undefined;
  const members: Partial<Record<Member, string>> = {};
  let at = open[0].length;
  while (!/^\s*\}\s*$/.test(text.slice(at))) {
    MEMBER.lastIndex = at;
    const found = MEMBER.exec(text);
    if (!found) return undefined;
    for (const [name, value] of Object.entries(found.groups!)) {
      if (value === undefined) continue;
      if (members[name as Member] !== undefined) return undefined;
      members[name as Member] = value;
    }
    at += found[0].length;
  }
  return members;
}

/** NumPy has no bf16; that of ml_dtypes is saved as opaque 2-byte values. */
function remedyOf(descr: string): string {
  if (/^[<|>]V2$/.test(descr))
    return ", as bf16 is saved; save x.astype('float32'), or send x.tobytes() raw with dtype=bf16 and its shape";
  return descr.startsWith(">") ? `; save x.astype('<${descr.slice(1)}')` : "";
}

function readSizes(sizes: string): number[] {
  // `(3,)` and `()` are tuples too.
  const texts =
    sizes.trim() === "" ? [] : sizes.replace(/,\s*$/, "").split(",");
  const shape = texts.map((size) =>
    SIZE.test(size.trim()) ? parseInt(size, 10) : NaN,
  );
  if (!shape.every(Number.isSafeInteger)) {
    throw malformed("whole sizes", `(${sizes.slice(0, 80)})`);
  }
  if (!isCountable(shape)) {
    throw malformed("fewer than 2^53 elements", `(${sizes.slice(0, 80)})`);
  }
  return shape;
}
