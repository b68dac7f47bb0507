/** Reads the headers of a checkpoint's files by ranges: a few KiB of each. */
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

/** A file of which any range can be read. */
export interface RangedFile {
  readonly bytes: number;
  /**
   * May use `into` if it is large enough; otherwise the caller owns the buffer. Errors: `malformed_body` if the range
   * is incomplete
   */
  read(start: number, end: number, into?: ArrayBuffer): Promise<Uint8Array>;
}

/** A directory, local or remote. */
export interface Folder {
  /** Names of its files; undefined if it cannot be listed. */
  list(): Promise<readonly string[] | undefined>;
  /** Names of its subfolders, if it can be listed. */
  folders?(): Promise<readonly string[]>;
  /** A whole small file; undefined if missing. */
  text(name: string): Promise<string | undefined>;
  /** Errors: `file_not_found` */
  open(name: string): Promise<RangedFile>;
  /** Its tensors and config, if they do not come from safetensors headers. */
  checkpoint?(): Promise<Checkpoint>;
}

/** Size of reads of a GGUF's header: a vocabulary has megabytes. */
const WINDOW_BYTES = 1 << 20;

/** Limit of a text that is read whole: the longest tokenizer.json of a published model has 33 MB. */
const MAX_TEXT_BYTES = 48 * 1024 * 1024;

/** Checked before a text is read. Errors: `body_too_large` */
export function checkTextBytes(name: string, bytes: number): void {
  if (bytes > MAX_TEXT_BYTES)
    throw new AppError(
      "body_too_large",
      `Expected ${name} to have at most ${MAX_TEXT_BYTES} bytes, got ${bytes}`,
    );
}

/** A directory's tensors and config. Errors: those of `tensorFiles` and `checkpointOf` */
export async function readFolder(folder: Folder): Promise<Checkpoint> {
  if (folder.checkpoint) return folder.checkpoint();
  const index = await folder.text(INDEX_FILE);
  const config = await folder.text(CONFIG_FILE);
  // If it cannot be listed: the files of its index, or a single file without index.
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

/** Errors name the file's actual format, and the file. */
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

/** A single safetensors or .npy file, as a checkpoint without a config. */
export async function readOne(
  name: string,
  file: RangedFile,
): Promise<Checkpoint> {
  const tensors =
    (await readNpy(file)) ?? (await readHeadOf(name, file)).tensors;
  return checkpointOf(new Map([[name, tensors]]), undefined, undefined);
}

/** The tensor of a .npy; undefined for other files. Errors: as `readNpyHead` */
async function readNpy(
  file: RangedFile,
): Promise<TensorRange<Dtype>[] | undefined> {
  const first = await file.read(0, Math.min(LENGTH_BYTES, file.bytes));
  if (first.length < LENGTH_BYTES || !NPY.recognizes(first)) return undefined;
  const source = windowed(file, LENGTH_BYTES);
  const head = await readNpyHead(source, first, file.bytes);
  return [{ ...head.tensor, start: head.headBytes, end: file.bytes }];
}

/** The header of a GGUF; undefined for other files. Errors: as `readGgufHead` */
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

/** Errors: `malformed_body` if the range is incomplete */
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
