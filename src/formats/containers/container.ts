/**
 * A file of tensors independent of its container: its contents, and how a file with other tensors in their places is
 * written.
 */
import { AppError } from "../../api/errors.ts";
import type { StoredType } from "../dtype.ts";
import type { Conversion } from "../stream/conversion.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import type { ByteSource } from "../stream/source.ts";
import type { Written } from "../stream/tensor-sections.ts";
import type { TensorRange } from "../tensor.ts";

/** A file format: recognizing it, and reading its header. */
export type Container = {
  /** Whether a file of this format begins with these 8 bytes. */
  recognizes(first: Uint8Array): boolean;
  /** Reads the rest of a header after `first`. */
  readHead(
    source: ByteSource,
    first: Uint8Array,
    fileBytes: number,
    beforeHead?: BeforeHead,
  ): Promise<TensorFile>;
};

/** Awaited before a large header is read, with its maximum size. */
export type BeforeHead = (headerBytes: number) => Promise<void>;

/** A format that is written: a GGUF stays a GGUF, all others become safetensors. */
export type FileTarget = {
  name: "safetensors" | "gguf";
  /**
   * Whether readers only rely on each tensor's type, as for GGUF: they do not undo what metadata says, and names do
   * not mark scales of other tensors.
   */
  isPlain: boolean;
  /** Errors: `name_collision` */
  write(file: TensorFile, output: Output): Conversion;
};

export type TensorFile = {
  /** The format in which its conversions are written. */
  target: FileTarget;
  /** Bytes before the data, already read. */
  headBytes: number;
  dataBytes: number;
  /** In the order of their bytes; there may be unused bytes in between. */
  tensors: readonly TensorRange[];
  /** Key-values in order: strings, or the encoded entries of a GGUF. */
  metadata: ReadonlyMap<string, string | Uint8Array>;
  /** Tensors in the output start at multiples of this. */
  alignment: number;
};

/** The contents of an output file. */
export type Output = {
  /** The output for each of the file's tensors, in order. */
  tensors: readonly Written[];
  /** Which key-values are kept. */
  keeps: (key: string) => boolean;
  /** Key-values that are added or replaced. */
  adds?: readonly (readonly [key: string, value: string])[];
  /** The main type of a GGUF. */
  mostly?: StoredType;
  pool?: HoldPool;
  heldBytes?: number;
};

/** Errors: `unsupported_media_type` for GGUF, which only some operations support; `why` is appended */
export function withoutGguf(
  file: TensorFile,
  what: string,
  why = "",
): TensorFile {
  if (!file.target.isPlain) return file;
  throw new AppError(
    "unsupported_media_type",
    `Expected safetensors, .npy or raw values ${what}, got GGUF${why}`,
  );
}
