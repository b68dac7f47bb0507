/** What a job writes: files one after the other, each with the input bytes that it needs. */
import type { Conversion } from "../../formats/stream/conversion.ts";
import type { FileRange } from "../../formats/stream/file-range.ts";
import type { StoredJob } from "./job-record.ts";
import type { PinnedFile } from "./pinned-file.ts";

/** A file that a job writes. */
export type JobOutput = {
  name: string;
  /** The conversion from its start, and the ranges of the input that it reads. */
  open(): Promise<{
    conversion: Conversion;
    runs: readonly FileRange<PinnedFile>[];
  }>;
  /** Tensors in this file whose digests must be computed before the next file is opened. */
  digested: readonly Stretch[];
};

/**
 * The range of a tensor's bytes, from the end of the file's header; `fileBytes` is the size of the file after the
 * header.
 */
export type Stretch = {
  name: string;
  start: number;
  end: number;
  fileBytes: number;
};

export type JobPlan = {
  outputs: readonly JobOutput[];
  /** Approximate memory of the plan. */
  bytes: number;
  /** Size of all outputs; null if it is only known once an output is opened. */
  totalBytes: number | null;
  /** Files of the source directory that are left out, and files that are missing. */
  leftOut: readonly string[];
  missing: readonly string[];
};

/** For a job that writes one file. */
export const NOTHING_LEFT = { leftOut: [], missing: [] } as const;

/** A job whose input files are pinned. */
export type PinnedJob = Pick<StoredJob, "request" | "result" | "isFolder"> & {
  files: readonly PinnedFile[];
};
