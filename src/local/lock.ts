/**
 * Ensures that one process at a time serves from a state folder, since two runtimes would corrupt its database files.
 *
 * The lock is SQLite's exclusive lock on an empty database, `edge.lock`: a record lock of the system (`fcntl`,
 * `LockFileEx`), which is acquired atomically and released by the system when the process ends, however it ends. So
 * there are no stale locks, and no comparison of pids, which may be equal in different containers. The file is never
 * removed: removing it would let two processes lock two files of the same name. The process that holds the lock must
 * not open the file elsewhere: closing it would release the lock.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { makeFolder } from "./make-folder.ts";
import { openDatabase } from "./sqlite.ts";

export const LOCK_FILE = "edge.lock";
/** The lock's owner, only for messages. */
const OWNER_FILE = "edge.pid";
/** Concurrent attempts may block each other, and an owner that was told to end needs a moment. */
const PATIENCE_MS = 1_000;
/** For an owner that has announced its end. */
const ENDING_PATIENCE_MS = 10_000;
const SQLITE_BUSY = 5;

export type FolderLock = {
  /** Announces that this process is about to end, so that its successor waits for it. */
  announceEnd: () => void;
  release: () => void;
};

/** Acquires the lock. Errors: another process holds it */
export async function lockFolder(stateFolder: string): Promise<FolderLock> {
  makeFolder(stateFolder);
  const owner = join(stateFolder, OWNER_FILE);
  const began = Date.now();
  for (;;) {
    const database = tryLock(join(stateFolder, LOCK_FILE));
    if (database) {
      writeFileSync(owner, `${process.pid}`);
      return {
        announceEnd: () => writeFileSync(owner, `${process.pid} ending`),
        release: () => {
          if (!database.isOpen) return;
          rmSync(owner, { force: true });
          database.close();
        },
      };
    }
    const [pid, ending] = ownerIn(owner);
    const patienceMs = ending ? ENDING_PATIENCE_MS : PATIENCE_MS;
    if (Date.now() - began > patienceMs) {
      throw new Error(
        `Expected ${stateFolder} to be free, but process ${pid ?? "of another user"} serves from it; end that one first`,
      );
    }
    await sleep(20 + Math.random() * 80);
  }
}

/** The locked database; undefined if another process holds the lock. */
function tryLock(file: string): DatabaseSync | undefined {
  const database = openDatabase(file);
  try {
    // Nothing is written, so no journal file is needed.
    database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    return database;
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) {
      return undefined;
    }
    throw error;
  }
}

function ownerIn(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split(" ");
  } catch {
    return []; // the lock was just acquired, or is just being released
  }
}
