/** What a job writes: files, one after the other, each with the bytes that it takes. */
import type { Conversion } from "../../formats/stream/conversion.ts";
import type { FileRange } from "../../formats/stream/file-range.ts";
import type { StoredJob } from "./job-record.ts";
import type { PinnedFile } from "./pinned-file.ts";

/** A file that a job writes. */
export type JobOutput = {
  name: string;
  /** The conversion from its start, and the runs of bytes that it takes. */
  open(): Promise<{
    conversion: Conversion;
    runs: readonly FileRange<PinnedFile>[];
  }>;
  /** Of whose bytes in it the digests are to be known before the next is opened. */
  digested: readonly Stretch[];
};

/** A tensor's bytes, counted from the first behind the file's head; `fileBytes` are all of those. */
export type Stretch = {
  name: string;
  start: number;
  end: number;
  fileBytes: number;
};

export type JobPlan = {
  outputs: readonly JobOutput[];
  /** Roughly, of memory, while it is kept. */
  bytes: number;
  /** Of all outputs; null where only opening one tells. */
  totalBytes: number | null;
  /** Of the directory, where it becomes another. */
  leftOut: readonly string[];
  missing: readonly string[];
};

/** Of what is one file. */
export const NOTHING_LEFT = { leftOut: [], missing: [] } as const;

/** A job whose files are known. */
export type PinnedJob = Pick<StoredJob, "request" | "result" | "isFolder"> & {
  files: readonly PinnedFile[];
};
