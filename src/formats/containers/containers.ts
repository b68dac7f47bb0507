/** Reads the header of a file of any supported format. */
import { AppError } from "../../api/errors.ts";
import { dtypeBytes, type FloatDtype } from "../dtype.ts";
import type { ByteSource } from "../stream/source.ts";
import { elementCount } from "../tensor.ts";
import type { BeforeHead, Container, TensorFile } from "./container.ts";
import { GGUF } from "./gguf-file.ts";
import { NPY } from "./npy.ts";
import { refuseOtherFiles } from "./other-files.ts";
import { oneTensorFile, SAFETENSORS } from "./safetensors-file.ts";
import { LENGTH_BYTES, readHeaderLength } from "./safetensors-reader.ts";

/** The last one takes everything else, and reports what it expected. */
const CONTAINERS: readonly Container[] = [GGUF, NPY, SAFETENSORS];

/** Dtype and shape of a raw body. */
export type RawHead = { dtype: FloatDtype; shape: readonly number[] };

/**
 * Reads the header of a file of `fileBytes`; what `source` gives next is its data. The only tensor of a raw body or
 * .npy is called `x`. Errors: `malformed_body`, `unsupported_dtype`, `shape_mismatch`, `body_too_large` for too many
 * tensors
 */
export async function readTensorFile(
  source: ByteSource,
  fileBytes: number,
  raw?: RawHead,
  beforeHead?: BeforeHead,
): Promise<TensorFile> {
  if (raw) return rawFile(raw, fileBytes);
  if (fileBytes < LENGTH_BYTES) readHeaderLength(new Uint8Array(0), fileBytes);
  const first = (await source.take(LENGTH_BYTES)).slice();
  refuseOtherFiles(first);
  const container = CONTAINERS.find((each) => each.recognizes(first))!;
  return container.readHead(source, first, fileBytes, beforeHead);
}

function rawFile({ dtype, shape }: RawHead, fileBytes: number): TensorFile {
  const expected = dtypeBytes(dtype, elementCount(shape));
  if (fileBytes !== expected) {
    throw new AppError(
      "shape_mismatch",
      `Expected ${expected} bytes for ${dtype} [${shape.join(", ")}], got ${fileBytes}`,
    );
  }
  return oneTensorFile({ name: "x", dtype, shape }, 0);
}
