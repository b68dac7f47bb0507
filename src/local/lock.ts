/**
 * Who serves from a state folder: one process at a time, since two runtimes on the same database
 * files would spoil them.
 *
 * The lock is SQLite's exclusive one on an empty database, `edge.lock`: a record lock of the system
 * (`fcntl`, `LockFileEx`), which is taken in one step and which the system itself gives back when the
 * process ends, however it ends. So there is nothing stale to judge, and no pid: in a container each
 * process may have the same one. The file stays when all else is cleaned, because whoever removes a
 * lock file lets two processes lock two files of one name. Nothing else may open it in the process
 * that holds it: closing it would give the lock back.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { makeFolder } from "./make-folder.ts";
import { openDatabase } from "./sqlite.ts";

export const LOCK_FILE = "edge.lock";
/** Who holds the lock, for people; it decides nothing. */
const OWNER_FILE = "edge.pid";
/** Two that try at once may hinder each other, and an owner that was told to end needs a moment. */
const PATIENCE_MS = 1_000;
/** For an owner that has said that it is about to end. */
const ENDING_PATIENCE_MS = 10_000;
const SQLITE_BUSY = 5;

export type FolderLock = {
  /** Say that this process is about to end, so that its successor waits for it. */
  announceEnd: () => void;
  release: () => void;
};

/** Make this process the only one that serves from the state folder. */
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

/** The database, locked; undefined where another has it. */
function tryLock(file: string): DatabaseSync | undefined {
  const database = openDatabase(file);
  try {
    // Nothing is written, so that there is nothing to roll back in a file of its own.
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
    return []; // between the lock and its note, or between the note's end and the lock's
  }
}
