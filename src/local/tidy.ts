/** What a local runtime leaves in its state folder and never uses again. For an edge that does not run. */
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

/** The first page of a database begins with 100 bytes of header; 3 bytes on it counts its tables. */
const TABLE_COUNT = 103;

/** Remove what is left of objects that have gone, and of uploads whose runtime was killed. */
export function tidy(stateFolder: string): void {
  for (const objects of folders(join(stateFolder, "objects"))) {
    for (const name of readdirSync(objects)) {
      if (!/^[0-9a-f]{64}\.sqlite$/.test(name)) continue;
      const path = join(objects, name);
      if (isEmpty(path))
        for (const suffix of ["", "-wal", "-shm"])
          rmSync(path + suffix, { force: true });
    }
  }
  for (const bucket of folders(join(stateFolder, "buckets"))) {
    const blobs = join(bucket, "blobs");
    if (!existsSync(blobs)) continue;
    for (const name of readdirSync(blobs))
      if (name.startsWith(".kj-tmp.")) rmSync(join(blobs, name));
  }
}

/** A database without a table, and without a log that may bring some: that of an object that has gone. */
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

function folders(parent: string): string[] {
  if (!existsSync(parent)) return [];
  return readdirSync(parent, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(parent, name));
}
