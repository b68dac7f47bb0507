/**
 * A file of tensors as every operation sees it, whatever its container: what is in it, and how another
 * file is written with other tensors in their places.
 */
import { AppError } from "../../api/errors.ts";
import type { StoredType } from "../dtype.ts";
import type { Conversion } from "../stream/conversion.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import type { ByteSource } from "../stream/source.ts";
import type { Written } from "../stream/tensor-sections.ts";
import type { TensorRange } from "../tensor.ts";

/** A kind of file: told by its first bytes, its head read. */
export type Container = {
  /** Whether a file begins like this, by 8 bytes. */
  recognizes(first: Uint8Array): boolean;
  /** Take the rest of a head, of which `first` was taken. */
  readHead(
    source: ByteSource,
    first: Uint8Array,
    fileBytes: number,
    beforeHead?: BeforeHead,
  ): Promise<TensorFile>;
};

/** Awaited before much memory is taken for a head, with the most bytes that it may have. */
export type BeforeHead = (headerBytes: number) => Promise<void>;

/** A kind of file that is written: of a GGUF a GGUF, of all others safetensors. */
export type FileTarget = {
  name: "safetensors" | "gguf";
  /**
   * Its readers go by what each tensor's type says, as those of a GGUF do: they undo nothing that a record tells of, and
   * no name makes one tensor the scales of another.
   */
  isPlain: boolean;
  /** Errors: `name_collision` */
  write(file: TensorFile, output: Output): Conversion;
};

export type TensorFile = {
  /** What other files are written of it. */
  target: FileTarget;
  /** Bytes before the data, which have been taken. */
  headBytes: number;
  dataBytes: number;
  /** In the order of their bytes, between which others may lie that nobody needs. */
  tensors: readonly TensorRange[];
  /** Key-values in order: strings, or as they are encoded in a GGUF. */
  metadata: ReadonlyMap<string, string | Uint8Array>;
  /** Where tensors may start in what is written: at multiples of it. */
  alignment: number;
};

/** What becomes of a file. */
export type Output = {
  /** In the places of the file's tensors, one for each. */
  tensors: readonly Written[];
  /** Which of the key-values stay. */
  keeps: (key: string) => boolean;
  /** And which come, those of the same keys in their places. */
  adds?: readonly (readonly [key: string, value: string])[];
  /** What most of a GGUF is of. */
  mostly?: StoredType;
  pool?: HoldPool;
  heldBytes?: number;
};

/** Errors: `unsupported_media_type` for GGUF, which only some operations take; `why` says more */
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
