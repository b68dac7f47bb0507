/**
 * Notes of runs that a command has started and not seen end: repeating the command after an interruption continues the
 * run.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { isMarked } from "../../local/processes.ts";
import type { KeptFiles } from "./kept-runs.ts";
import type { TrainOptions } from "./options.ts";

/** A running run. */
export type Unfinished = {
  run: string;
  kept: KeptFiles;
  /** The options that created it; the same options mean the same run. */
  made: string;
  /** Number of trainers requested from a remote edge. */
  hosted?: number;
  /** The process that follows it; for remote edges only, since a local edge has a single process. */
  process?: string;
};

/** Everything that distinguishes runs; not their place, trainers or name. */
export function madeBy({
  textFile,
  tokenizer,
  request,
  origin,
  remote,
}: TrainOptions): string {
  const { shards: _shards, name: _name, ...rest } = request;
  const url = remote?.address.baseUrl.replace(/\/+$/, "");
  return JSON.stringify({
    textFile,
    tokenizer,
    from: origin?.path,
    url,
    ...rest,
  });
}

/** The differences of `made` from `before`, for a message. */
export function differences(before: string, made: string): string {
  const [was, is] = [before, made].map(
    (text) => new Map(leaves(JSON.parse(text) as object)),
  );
  const names = [...new Set([...was!.keys(), ...is!.keys()])];
  return names
    .filter((name) => was!.get(name) !== is!.get(name))
    .map(
      (name) =>
        `${name} ${was!.get(name) ?? "not given"}, got ${is!.get(name) ?? "none"}`,
    )
    .join("; ");
}

function leaves(value: object, prefix = ""): [name: string, text: string][] {
  return Object.entries(value).flatMap(([key, each]) =>
    typeof each === "object" && each !== null
      ? leaves(each as object, `${prefix}${key}.`)
      : [[prefix + key, String(each)]],
  );
}

/** Written atomically. */
export function writeNote(file: string, run: Unfinished): void {
  const partial = `${file}.${process.pid}.partial`;
  writeFileSync(partial, JSON.stringify(run));
  renameSync(partial, file);
}

/**
 * Notes that this process follows a remote run, unless another does; checked again after writing, since two may start
 * at once. `told`: how messages refer to the place. Errors: another process trains it
 */
export function claimNote(file: string, run: Unfinished, told: string): void {
  const before = readNote(file)?.process;
  if (before !== run.process) checkFollower(before, told);
  writeNote(file, run);
  const now = readNote(file)?.process;
  if (now !== run.process) checkFollower(now, told);
}

/** Errors: the process is running */
export function checkFollower(
  follower: string | undefined,
  told: string,
): void {
  if (follower === undefined || !isMarked(follower)) return;
  throw new Error(
    `Expected ${told} to be free, but process ${follower.split(" ")[0]} is training it`,
  );
}

export function readNote(file: string): Unfinished | undefined {
  // Earlier releases wrote an empty note.
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  return text === "" ? undefined : (JSON.parse(text) as Unfinished);
}
