/** The headers of a checkpoint's files, read by ranges: a few KiB of each, wherever they lie. */
import type { Dtype } from "../formats/dtype.ts";
import { AppError } from "../api/errors.ts";
import {
  type HeadReading,
  isGguf,
  readGgufHead,
} from "../formats/containers/gguf-reader.ts";
import {
  LENGTH_BYTES,
  type Metadata,
  readHeader,
  readHeaderLength,
} from "../formats/containers/safetensors-reader.ts";
import { NPY, readNpyHead } from "../formats/containers/npy.ts";
import { refuseOtherFiles } from "../formats/containers/other-files.ts";
import { isRecorded } from "../formats/blocks/quantization-record.ts";
import type { ByteSource } from "../formats/stream/source.ts";
import { endedEarly } from "../formats/stream/source.ts";
import type { TensorRange } from "../formats/tensor.ts";
import {
  type Checkpoint,
  checkpointOf,
  CONFIG_FILE,
  INDEX_FILE,
  readConfig,
  readIndex,
  SINGLE_FILE,
  tensorFiles,
} from "./checkpoint.ts";

/** A file that any part of can be read. */
export interface RangedFile {
  readonly bytes: number;
  /**
   * In `into` if it has room for them, if it likes; otherwise in a buffer that is whoever asks' alone.
   * Errors: `malformed_body` where fewer come
   */
  read(start: number, end: number, into?: ArrayBuffer): Promise<Uint8Array>;
}

/** A directory, here or elsewhere. */
export interface Folder {
  /** The names of its files, or undefined where it cannot say. */
  list(): Promise<readonly string[] | undefined>;
  /** The names of the folders in it, where it can say. */
  folders?(): Promise<readonly string[]>;
  /** A small file whole; undefined where it is not there. */
  text(name: string): Promise<string | undefined>;
  /** Errors: `file_not_found` */
  open(name: string): Promise<RangedFile>;
  /** Its tensors and config, where heads of safetensors do not tell them. */
  checkpoint?(): Promise<Checkpoint>;
}

/** What is taken of a GGUF's head at a time: a vocabulary is megabytes. */
const WINDOW_BYTES = 1 << 20;

/** A directory's tensors and config. Errors: as `tensorFiles` and `checkpointOf` */
export async function readFolder(folder: Folder): Promise<Checkpoint> {
  if (folder.checkpoint) return folder.checkpoint();
  const index = await folder.text(INDEX_FILE);
  const config = await folder.text(CONFIG_FILE);
  // What cannot be listed has the files that its index names, or the one that needs none.
  const names =
    (await folder.list()) ??
    (index === undefined ? [SINGLE_FILE] : [...readIndex(index).values()]);
  const files = tensorFiles(names, index, await folder.folders?.());
  const heads = new Map<string, readonly TensorRange<Dtype>[]>();
  let recorded: string | undefined;
  const metadata = new Map<string, string>();
  for (const file of files) {
    const head = await readHeadOf(file, await folder.open(file));
    heads.set(file, head.tensors);
    if (isRecorded(head.metadata)) recorded ??= file;
    for (const [key, value] of head.metadata) metadata.set(key, value);
  }
  const itsConfig = config === undefined ? undefined : readConfig(config);
  return { ...checkpointOf(heads, index, itsConfig), recorded, metadata };
}

/** One that cannot be read is told by what it is, and which of several. */
async function readHeadOf(
  name: string,
  file: RangedFile,
): ReturnType<typeof readSafetensorsHead> {
  try {
    return await readSafetensorsHead(file).catch(async (error: unknown) => {
      if (file.bytes >= LENGTH_BYTES)
        refuseOtherFiles(await file.read(0, LENGTH_BYTES));
      throw error;
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const { code, message } = error;
    throw new AppError(code, `${message}, in ${name}`, { cause: error });
  }
}

export async function readSafetensorsHead(
  file: RangedFile,
): Promise<{ tensors: TensorRange<Dtype>[]; metadata: Metadata }> {
  const first = await file.read(0, Math.min(LENGTH_BYTES, file.bytes));
  const headerBytes = readHeaderLength(first, file.bytes);
  const start = LENGTH_BYTES + headerBytes;
  const json = await file.read(LENGTH_BYTES, start);
  const { tensors, metadata } = readHeader(json, file.bytes - start);
  const placed = tensors.map((tensor) => ({
    ...tensor,
    start: start + tensor.start,
    end: start + tensor.end,
  }));
  return { tensors: placed, metadata };
}

/** One file, of safetensors or a .npy, as a checkpoint without a config. */
export async function readOne(
  name: string,
  file: RangedFile,
): Promise<Checkpoint> {
  const tensors =
    (await readNpy(file)) ?? (await readHeadOf(name, file)).tensors;
  return checkpointOf(new Map([[name, tensors]]), undefined, undefined);
}

/** Its one tensor; undefined of another file. Errors: as `readNpyHead` */
async function readNpy(
  file: RangedFile,
): Promise<TensorRange<Dtype>[] | undefined> {
  const first = await file.read(0, Math.min(LENGTH_BYTES, file.bytes));
  if (first.length < LENGTH_BYTES || !NPY.recognizes(first)) return undefined;
  const source = windowed(file, LENGTH_BYTES);
  const head = await readNpyHead(source, first, file.bytes);
  return [{ ...head.tensor, start: head.headBytes, end: file.bytes }];
}

/** The head of a GGUF; undefined of another file. Errors: as `readGgufHead` */
export async function readGguf(
  file: RangedFile,
  reading?: HeadReading,
): Promise<Awaited<ReturnType<typeof readGgufHead>> | undefined> {
  const first = await file.read(0, Math.min(LENGTH_BYTES, file.bytes));
  if (first.length < LENGTH_BYTES || !isGguf(first)) return undefined;
  const source = windowed(file, LENGTH_BYTES);
  return readGgufHead(source, first, file.bytes, reading);
}

/** The file from `position` on, read in windows. */
function windowed(file: RangedFile, position: number): ByteSource {
  let window = new Uint8Array(0);
  return {
    async take(bytes) {
      if (window.length < bytes) {
        const at = position + window.length;
        const more = Math.max(bytes - window.length, WINDOW_BYTES);
        const end = Math.min(at + more, file.bytes);
        const read = await file.read(at, end);
        const joined = new Uint8Array(window.length + read.length);
        joined.set(window);
        joined.set(read, window.length);
        window = joined;
        if (window.length < bytes) throw endedEarly(bytes, window.length);
      }
      const taken = window.subarray(0, bytes);
      window = window.subarray(bytes);
      position += bytes;
      return taken;
    },
  };
}

/** Errors: `malformed_body` where a range came short */
export function checkRange(
  got: Uint8Array,
  start: number,
  end: number,
): Uint8Array {
  if (got.length === end - start) return got;
  throw new AppError(
    "malformed_body",
    `Expected the bytes from ${start} to ${end}, got ${got.length} of them`,
  );
}
