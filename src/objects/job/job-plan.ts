/**
 * What a job writes: one file of a file, or one after the other those of a folder. It follows from the
 * request and the pinned files alone, so a job that was interrupted makes the same plan again.
 */
import {
  type FolderPlan,
  type FolderRequest,
  makesGguf,
  planFolder,
} from "../../checkpoints/folder-plan.ts";
import { readNorms } from "../../checkpoints/fold.ts";
import {
  ggufChoices,
  planFolderGguf,
} from "../../checkpoints/gguf/folder-gguf.ts";
import {
  fileAnalysis,
  planFolderAnalysis,
} from "../../checkpoints/analyze-plan.ts";
import type {
  AnalyzeFolderOptions,
  QuantizeOptions,
} from "../../api/tensors.ts";
import { valuesOf } from "../../formats/operations/nonfinite-values.ts";
import { type Folder, readFolder } from "../../checkpoints/read-heads.ts";
import { headBytes, type PlannedShard } from "../../checkpoints/shards.ts";
import { scalesFirst } from "../../formats/blocks/scales-first.ts";
import { readTensorFile } from "../../formats/containers/containers.ts";
import { planFile, rawOf } from "../../formats/operations/file-operation.ts";
import { Conversion } from "../../formats/stream/conversion.ts";
import {
  FileSource,
  type ReadFile,
  type FileRange,
} from "../../formats/stream/file-source.ts";
import { copied } from "../../formats/stream/tensor-sections.ts";
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
type Stretch = { name: string; start: number; end: number; fileBytes: number };

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
const NOTHING_LEFT = { leftOut: [], missing: [] } as const;

type Planned = Pick<StoredJob, "request" | "result" | "isFolder"> & {
  files: readonly PinnedFile[];
};

/** `digests` are those known by the time that an output is opened. Errors: those of the plans */
export function planJob(
  job: Planned,
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
  { request, files }: Planned,
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

/** Of which pairs a part is held until the other comes: fewer bytes of them when scales come first. */
function pairsOf({ operation, options }: StoredJob["request"]) {
  return {
    blocks:
      operation === "dequantize" ||
      (operation === "repack" && options?.to === "ggml"),
    float8: operation !== "repack",
  };
}

/** What a tensor's part in the plan takes of memory: its heads, its decision, its reasons. */
const TENSOR_BYTES = 2048;
/** As long as a digest. */
const NO_DIGEST = "0".repeat(64);

async function planFolderJob(
  { request, result, files }: Planned,
  read: ReadFile<PinnedFile>,
  digests: () => ReadonlyMap<string, string>,
): Promise<JobPlan> {
  const byName = new Map(files.map((file) => [file.name, file]));
  const checkpoint = await readFolder(folderOf(byName, read));
  const plan = planFolder(
    checkpoint,
    [...byName.keys()],
    nameOf(request.source),
    request as FolderRequest,
  );
  const norms = await readNorms(plan, ({ file, start, end }) =>
    read(byName.get(file)!, start, end - start),
  );
  const shards = plan.shards.map((shard): JobOutput => ({
    name: `${result}/${shard.file}`,
    open: async () => ({
      conversion: shard.conversion(norms),
      runs: shard.reads.map(({ file, start, end }) => ({
        file: byName.get(file)!,
        start,
        end,
      })),
    }),
    digested: stretchesOf(shard, plan),
  }));
  const copies = plan.copies.map((name): JobOutput => {
    const file = byName.get(name)!;
    return {
      name: `${result}/${name}`,
      open: async () => ({
        conversion: copyOf(file.bytes),
        runs: [{ file, start: 0, end: file.bytes }],
      }),
      digested: [],
    };
  });
  const [card, cardOf] = plan.card;
  const texts = [
    [card, () => cardOf(digests())] as const,
    ...plan.texts.map(([name, text]) => [name, () => text] as const),
  ].map(([name, textOf]): JobOutput => ({
    name: `${result}/${name}`,
    open: async () => ({ conversion: textFile(textOf()), runs: [] }),
    digested: [],
  }));
  const bytes = TENSOR_BYTES * checkpoint.tensors.length;
  const outputs = [...shards, ...copies, ...texts];
  const placeholders = [...plan.digested].map(
    (name) => [name, NO_DIGEST] as const,
  );
  const small = [
    cardOf(new Map(placeholders)),
    ...plan.texts.map(([, text]) => text),
  ];
  const totalBytes =
    sum(plan.shards.map((shard) => shard.conversion(norms).totalBytes)) +
    sum(plan.copies.map((name) => byName.get(name)!.bytes)) +
    sum(small.map((text) => new TextEncoder().encode(text).length));
  const { leftOut, missing } = plan;
  return { outputs, bytes, totalBytes, leftOut, missing };
}

/** The GGUF that is made of a folder for llama.cpp. */
async function planGgufJob(
  { request, result, files }: Planned,
  read: ReadFile<PinnedFile>,
): Promise<JobPlan> {
  const byName = new Map(files.map((file) => [file.name, file]));
  const options: QuantizeOptions = request.options ?? {};
  const { reads, decided, totalBytes, head, conversion } = await planFolderGguf(
    folderOf(byName, read),
    nameOf(request.source),
    ggufChoices(options),
    valuesOf(options.nonfinite),
  );
  const runs = reads.map((each) => ({ ...each, file: byName.get(each.file)! }));
  const output = {
    name: result,
    open: async () => ({ conversion: conversion(), runs }),
    digested: [],
  };
  const bytes = head.length + TENSOR_BYTES * decided.tensors.length;
  return { outputs: [output], bytes, totalBytes, ...NOTHING_LEFT };
}

/** The report on a folder. */
async function planAnalysisJob(
  { result, files }: Planned,
  options: AnalyzeFolderOptions,
  read: ReadFile<PinnedFile>,
): Promise<JobPlan> {
  const byName = new Map(files.map((file) => [file.name, file]));
  const checkpoint = await readFolder(folderOf(byName, read));
  const plan = planFolderAnalysis(checkpoint, options);
  const { reads, open } = plan;
  const norms = await readNorms(plan, ({ file, start, end }) =>
    read(byName.get(file)!, start, end - start),
  );
  const runs = reads.map((each) => ({ ...each, file: byName.get(each.file)! }));
  const output = {
    name: result,
    open: async () => ({ conversion: open(norms).conversion, runs }),
    digested: [],
  };
  const bytes = TENSOR_BYTES * checkpoint.tensors.length;
  return { outputs: [output], bytes, totalBytes: null, ...NOTHING_LEFT };
}

/** What the card calls it: of `ORG/REPO/resolve/main/` that is REPO. */
function nameOf(source: StoredJob["request"]["source"]): string {
  if (typeof source === "string") return source;
  const segments = new URL(source.url).pathname.split("/").filter(Boolean);
  const resolve = segments.indexOf("resolve");
  const name = resolve > 0 ? segments[resolve - 1] : segments.at(-1);
  return name === undefined ? "model" : decodeURIComponent(name);
}

function folderOf(
  files: ReadonlyMap<string, PinnedFile>,
  read: ReadFile<PinnedFile>,
): Folder {
  return {
    list: async () => [...files.keys()],
    async text(name) {
      const file = files.get(name);
      if (!file) return undefined;
      return new TextDecoder().decode(await read(file, 0, file.bytes));
    },
    async open(name) {
      const file = files.get(name)!;
      return {
        bytes: file.bytes,
        read: (start, end) => read(file, start, end - start),
      };
    },
  };
}

function stretchesOf(
  { groups }: PlannedShard,
  { digested }: FolderPlan,
): Stretch[] {
  let end = 0;
  const stretches = groups.map(({ name, heads }) => {
    const start = end;
    end += sum(heads.map(headBytes));
    return { name, start, end };
  });
  return stretches
    .filter(({ name }) => digested.has(name))
    .map((stretch) => ({ ...stretch, fileBytes: end }));
}

function copyOf(bytes: number): Conversion {
  return new Conversion({
    head: new Uint8Array(0),
    dataBytes: bytes,
    sections: [() => copied(bytes)],
  });
}

function textFile(text: string): Conversion {
  const head = Uint8Array.from(new TextEncoder().encode(text));
  return new Conversion({ head, dataBytes: 0, sections: [] });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
