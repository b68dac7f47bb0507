/**
 * What an edge of release 0.1.0 (commit 08a6f20) left when it was killed: each file of its state folder,
 * gzipped. In it:
 *
 *   corpus     a dataset of 2,120 bytes
 *   source     a file of two f32 tensors [3072, 4096], all 0.375
 *   JOB        a job that quantizes it to `half`, with scale=even and min-scale=1; one stretch is done
 *   going      a run with 1 layer of width 64, 2 shards, 1 microbatch a step, trained by two trainers, one
 *              of them hosted, and still going
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { gunzipSync } from "node:zlib";

const FIXTURE = join(import.meta.dirname, "../fixtures/state-08a6f20");

export const JOB = "job-4d0d251b-9658-4db7-ac98-39068b3d1ebd";

/** Lay it out in `folder`. */
export function layOut(folder: string): void {
  for (const name of readdirSync(FIXTURE, { recursive: true }) as string[]) {
    if (!name.endsWith(".gz")) continue;
    const path = join(folder, name.slice(0, -".gz".length));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, gunzipSync(readFileSync(join(FIXTURE, name))));
  }
}

/** Databases of all objects of a class, of an edge that does not run. */
export function eachDatabase(
  folder: string,
  className: string,
  body: (database: DatabaseSync) => void,
): number {
  const objects = join(folder, "objects", `mxfp4-edge-${className}`);
  const names = readdirSync(objects).filter((name) =>
    /^[0-9a-f]{64}\.sqlite$/.test(name),
  );
  for (const name of names) {
    const database = new DatabaseSync(join(objects, name));
    body(database);
    database.close();
  }
  return names.length;
}
