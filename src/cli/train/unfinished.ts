/**
 * Notes of runs that a command has begun and not seen the end of: whoever types the same again after a kill goes on
 * with the run.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { isMarked } from "../../local/processes.ts";
import type { KeptFiles } from "./kept-runs.ts";
import type { TrainOptions } from "./options.ts";

/** A run that is under way. */
export type Unfinished = {
  run: string;
  kept: KeptFiles;
  /** What it was made by: the same again is the same run. */
  made: string;
  /** So many trainers its edge was asked to host; of one elsewhere. */
  hosted?: number;
  /** Which process follows it; of a run elsewhere, since an edge of this machine has one process at a time. */
  process?: string;
};

/** What tells one run from another, wherever it works, whoever trains it, and whatever it is called. */
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

/** What `made` says otherwise than `before`. */
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

/** It appears whole. */
export function writeNote(file: string, run: Unfinished): void {
  const partial = `${file}.${process.pid}.partial`;
  writeFileSync(partial, JSON.stringify(run));
  renameSync(partial, file);
}

/**
 * Note that this process follows a run elsewhere, unless another does or is first: both may have found the place free.
 * `told` is what a person calls the place. Errors: another process trains it
 */
export function claimNote(file: string, run: Unfinished, told: string): void {
  const before = readNote(file)?.process;
  if (before !== run.process) checkFollower(before, told);
  writeNote(file, run);
  const now = readNote(file)?.process;
  if (now !== run.process) checkFollower(now, told);
}

/** Errors: it is a process that runs */
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
  // An earlier release noted no more than that there is one.
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  return text === "" ? undefined : (JSON.parse(text) as Unfinished);
}
