/** Plans of jobs whose source is a directory: a directory for another loader, one GGUF, or a report. */
import type {
  AnalyzeFolderOptions,
  QuantizeOptions,
} from "../../api/tensors.ts";
import { planFolderAnalysis } from "../../checkpoints/analyze-plan.ts";
import { type FolderPlan, planFolder } from "../../checkpoints/folder-plan.ts";
import type { FolderRequest } from "../../checkpoints/folder-request.ts";
import {
  ggufChoices,
  planFolderGguf,
} from "../../checkpoints/gguf/folder-gguf.ts";
import { readFolder } from "../../checkpoints/read-heads.ts";
import { bytesOfHeads, type PlannedShard } from "../../checkpoints/shards.ts";
import { valuesOf } from "../../formats/operations/nonfinite-values.ts";
import { Conversion } from "../../formats/stream/conversion.ts";
import type { ReadFile } from "../../formats/stream/file-source.ts";
import { copied } from "../../formats/stream/tensor-sections.ts";
import { lastOf } from "../platform/stored-files.ts";
import {
  type JobOutput,
  type JobPlan,
  NOTHING_LEFT,
  type PinnedJob,
  type Stretch,
} from "./job-output.ts";
import type { StoredJob } from "./job-record.ts";
import type { PinnedFile } from "./pinned-file.ts";
import { PinnedFolder } from "./pinned-folder.ts";

/** Memory of a tensor's entry in the plan: headers, decision, reasons. */
const TENSOR_BYTES = 2048;
/** Placeholder with the length of a digest. */
const NO_DIGEST = "0".repeat(64);

export async function planFolderJob(
  { request, result, files }: PinnedJob,
  read: ReadFile<PinnedFile>,
  digests: () => ReadonlyMap<string, string>,
): Promise<JobPlan> {
  const pinned = new PinnedFolder(files, read);
  const checkpoint = await readFolder(pinned.folder);
  const plan = planFolder(
    checkpoint,
    files.map(({ name }) => name),
    nameOf(request.source),
    request as FolderRequest,
  );
  const norms = await pinned.norms(plan);
  const shards = plan.shards.map((shard): JobOutput => ({
    name: `${result}/${shard.file}`,
    open: async () => ({
      conversion: shard.conversion(norms),
      runs: pinned.ranges(shard.reads),
    }),
    digested: stretchesOf(shard, plan),
  }));
  const copies = plan.copies.map((name): JobOutput => {
    const file = pinned.file(name);
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
    sum(plan.copies.map((name) => pinned.file(name).bytes)) +
    sum(small.map((text) => new TextEncoder().encode(text).length));
  const { leftOut, missing } = plan;
  return { outputs, bytes, totalBytes, leftOut, missing };
}

/** Plans the conversion of a folder to a GGUF for llama.cpp. */
export async function planGgufJob(
  { request, result, files }: PinnedJob,
  read: ReadFile<PinnedFile>,
): Promise<JobPlan> {
  const pinned = new PinnedFolder(files, read);
  const options: QuantizeOptions = request.options ?? {};
  const { reads, decided, totalBytes, head, conversion } = await planFolderGguf(
    pinned.folder,
    nameOf(request.source),
    ggufChoices(options),
    valuesOf(options.nonfinite),
  );
  const runs = pinned.ranges(reads);
  const output = {
    name: result,
    open: async () => ({ conversion: conversion(), runs }),
    digested: [],
  };
  const bytes = head.length + TENSOR_BYTES * decided.tensors.length;
  return { outputs: [output], bytes, totalBytes, ...NOTHING_LEFT };
}

/** Plans the analysis of a folder. */
export async function planAnalysisJob(
  { result, files }: PinnedJob,
  options: AnalyzeFolderOptions,
  read: ReadFile<PinnedFile>,
): Promise<JobPlan> {
  const pinned = new PinnedFolder(files, read);
  const checkpoint = await readFolder(pinned.folder);
  const plan = planFolderAnalysis(checkpoint, options);
  const { reads, open } = plan;
  const norms = await pinned.norms(plan);
  const runs = pinned.ranges(reads);
  const output = {
    name: result,
    open: async () => ({ conversion: open(norms).conversion, runs }),
    digested: [],
  };
  const bytes = TENSOR_BYTES * checkpoint.tensors.length;
  return { outputs: [output], bytes, totalBytes: null, ...NOTHING_LEFT };
}

/** The model's name in the model card; for a URL with `ORG/REPO/resolve/main/`, REPO. */
function nameOf(source: StoredJob["request"]["source"]): string {
  if (typeof source === "string") return lastOf(source);
  const segments = new URL(source.url).pathname.split("/").filter(Boolean);
  const resolve = segments.indexOf("resolve");
  const name = (resolve > 0 ? segments[resolve - 1] : segments.at(-1)) ?? "";
  return decodedName(name) || "model";
}

/** Unchanged if the percent-encoding is not UTF-8. */
function decodedName(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

function stretchesOf(
  { groups }: PlannedShard,
  { digested }: FolderPlan,
): Stretch[] {
  let end = 0;
  const stretches = groups.map(({ name, heads }) => {
    const start = end;
    end += bytesOfHeads(heads);
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
