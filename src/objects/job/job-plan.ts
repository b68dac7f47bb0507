/**
 * Plans what a job writes: one file, or the files of a folder one after the other. The plan depends only on the
 * request and the pinned files, so an interrupted job makes the same plan again.
 */
import { fileAnalysis } from "../../checkpoints/file-analysis.ts";
import { makesGguf } from "../../checkpoints/folder-request.ts";
import { scalesFirst } from "../../formats/blocks/scales-first.ts";
import { readTensorFile } from "../../formats/containers/containers.ts";
import { planFile, rawOf } from "../../formats/operations/file-operation.ts";
import type { Conversion } from "../../formats/stream/conversion.ts";
import type { FileRange } from "../../formats/stream/file-range.ts";
import { FileSource, type ReadFile } from "../../formats/stream/file-source.ts";
import {
  planAnalysisJob,
  planFolderJob,
  planGgufJob,
} from "./folder-job-plan.ts";
import { type JobPlan, NOTHING_LEFT, type PinnedJob } from "./job-output.ts";
import type { StoredJob } from "./job-record.ts";
import type { PinnedFile } from "./pinned-file.ts";

/** `digests` returns those known when an output is opened. Errors: those of the plans */
export function planJob(
  job: PinnedJob,
  read: ReadFile<PinnedFile>,
  digests: () => ReadonlyMap<string, string>,
): Promise<JobPlan> | JobPlan {
  if (job.isFolder && makesGguf(job.request)) return planGgufJob(job, read);
  if (job.isFolder && job.request.operation === "analyze")
    return planAnalysisJob(job, job.request.options ?? {}, read);
  if (job.isFolder) return planFolderJob(job, read, digests);
  const output = {
    name: job.result,
    open: () => openFile(job, read),
    digested: [],
  };
  return { outputs: [output], bytes: 0, totalBytes: null, ...NOTHING_LEFT };
}

async function openFile(
  { request, files }: PinnedJob,
  read: ReadFile<PinnedFile>,
): Promise<{ conversion: Conversion; runs: readonly FileRange<PinnedFile>[] }> {
  const file = files[0]!;
  const source = new FileSource(read, [{ file, start: 0, end: file.bytes }]);
  try {
    const raw = rawOf((request.options ?? {}) as Parameters<typeof rawOf>[0]);
    const stored = await readTensorFile(source, file.bytes, raw);
    const ordered = scalesFirst(stored, pairsOf(request));
    const conversion =
      request.operation === "analyze"
        ? fileAnalysis(request.options ?? {})(ordered.file).conversion
        : planFile(ordered.file, request);
    const { headBytes: base } = stored;
    const { stretches } = ordered;
    const runs =
      stretches.length === 0
        ? [{ file, start: base, end: file.bytes }]
        : stretches.map(({ start, end, from }) => ({
            file,
            start: base + from,
            end: base + from + end - start,
          }));
    return { conversion, runs };
  } finally {
    source.release();
  }
}

/**
 * Which parts of a pair (blocks and scales) are held in memory until the other one arrives: fewer bytes if scales
 * come first.
 */
function pairsOf({ operation, options }: StoredJob["request"]) {
  return {
    blocks:
      operation === "dequantize" ||
      (operation === "repack" && options?.to === "ggml"),
    float8: operation !== "repack",
  };
}
