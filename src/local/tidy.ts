/**
 * Removes what a local runtime leaves behind in its state folder and never uses again. For an edge that is not running.
 */
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { subfolders } from "./folders.ts";

/**
 * Offset of the number of cells in the first page of an SQLite database, which has a header of 100 bytes; no cells: no
 * tables.
 */
const TABLE_COUNT = 103;

/** Removes files of deleted objects, and of uploads whose runtime was killed. */
export function tidy(stateFolder: string): void {
  for (const objects of subfolders(join(stateFolder, "objects"))) {
    for (const name of readdirSync(objects)) {
      if (!/^[0-9a-f]{64}\.sqlite$/.test(name)) continue;
      const path = join(objects, name);
      if (isEmpty(path))
        for (const suffix of ["", "-wal", "-shm"])
          rmSync(path + suffix, { force: true });
    }
  }
  for (const bucket of subfolders(join(stateFolder, "buckets"))) {
    const blobs = join(bucket, "blobs");
    if (!existsSync(blobs)) continue;
    for (const name of readdirSync(blobs))
      if (name.startsWith(".kj-tmp.")) rmSync(join(blobs, name));
  }
}

/** A database without tables, and without a log that may add some: that of a deleted object. */
function isEmpty(path: string): boolean {
  const log = `${path}-wal`;
  if (existsSync(log) && statSync(log).size > 0) return false;
  const file = openSync(path, "r");
  try {
    const count = Buffer.alloc(2);
    const bytes = readSync(file, count, 0, 2, TABLE_COUNT);
    return bytes < 2 || count.readUInt16BE() === 0;
  } finally {
    closeSync(file);
  }
}
