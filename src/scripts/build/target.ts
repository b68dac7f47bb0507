/**
 * Incremental builds, decided by content. A target sees files only through `read`, so what it depends on
 * is what it read; the record of a build holds the digests of all it read and of all it wrote, and the
 * target stands while both are still so. Times of files mean nothing, a file that was looked for and not
 * found counts as read, and the tools' versions are files like others: their package.json.
 *
 * Two builds at once write the same bytes, since what they make is a function of what they read. Files
 * are renamed into their places whole, and a build that another tree's state overtook is made again.
 */
import { hash } from "node:crypto";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";

export const ROOT = resolve(import.meta.dirname, "../../..");

/** A file's bytes, or undefined where there is none. Paths are absolute, or from the root. */
export type Read = (path: string) => Uint8Array | undefined;

export type BuildTarget = {
  name: string;
  /** Built before, since this one reads what they write. */
  needs?: readonly BuildTarget[];
  /** Returns what is to be written: bytes by path from the root. */
  make(read: Read): Promise<Map<string, Uint8Array>>;
};

/** By path from the root; null for a file that is not there. */
type Digests = Record<string, string | null>;
type Build = { inputs: Digests; outputs: Digests };

/** An input that changes while it is built from is built from again; so often only by mistake. */
const MOST_TRIES = 5;

/** Build what is not as it should be. Returns the names of what was built. */
export async function ensureBuilt(
  ...targets: readonly BuildTarget[]
): Promise<string[]> {
  const built: string[] = [];
  for (const target of targets) {
    built.push(...(await ensureBuilt(...(target.needs ?? []))));
    let tries = 0;
    while (!stands(target)) {
      if (++tries > MOST_TRIES) {
        throw new Error(
          `Expected the files that ${target.name} is built from to keep still, but they changed ${MOST_TRIES} times meanwhile`,
        );
      }
      await build(target);
      if (tries === 1) built.push(target.name);
    }
  }
  return built;
}

async function build(target: BuildTarget): Promise<void> {
  const inputs: Digests = {};
  // The build's own code decides what comes out, too.
  for (const file of readdirSync(import.meta.dirname)) {
    noteInput(inputs, join(import.meta.dirname, file));
  }
  const outputs = await target.make((path) => noteInput(inputs, path));
  const digests = [...outputs].map(([path, bytes]) => [
    fromRoot(path),
    digest(bytes),
  ]);
  for (const [path, bytes] of outputs) writeWhole(path, bytes);
  const record: Build = { inputs, outputs: Object.fromEntries(digests) };
  writeWhole(recordOf(target), Buffer.from(JSON.stringify(record, null, 1)));
}

function stands(target: BuildTarget): boolean {
  const record = readFile(recordOf(target));
  if (!record) return false;
  const { inputs, outputs } = JSON.parse(
    Buffer.from(record).toString(),
  ) as Build;
  return [inputs, outputs].every((files) =>
    Object.entries(files).every(
      ([path, expected]) => digest(readFile(path)) === expected,
    ),
  );
}

function recordOf(target: BuildTarget): string {
  return `build/records/${target.name}.json`;
}

function noteInput(inputs: Digests, path: string): Uint8Array | undefined {
  const bytes = readFile(path);
  inputs[fromRoot(path)] = digest(bytes);
  return bytes;
}

/** The path that a record has it by, which holds in a copy of the tree too. */
function fromRoot(path: string): string {
  return relative(ROOT, resolve(ROOT, path)).split(sep).join("/");
}

function readFile(path: string): Uint8Array | undefined {
  try {
    return readFileSync(resolve(ROOT, path));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

function digest(bytes: Uint8Array | undefined): string | null {
  return bytes ? hash("sha256", bytes) : null;
}

let written = 0;

/** Nobody sees half a file, and a build that dies leaves none where it would be served. */
function writeWhole(path: string, bytes: Uint8Array): void {
  const temporary = join(ROOT, "build/tmp", `${process.pid}-${++written}`);
  const final = resolve(ROOT, path);
  mkdirSync(dirname(temporary), { recursive: true });
  mkdirSync(dirname(final), { recursive: true });
  writeFileSync(temporary, bytes);
  renameSync(temporary, final);
}
