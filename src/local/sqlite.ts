/**
 * node:sqlite without its warning. Older supported versions of Node print on stderr that it is experimental; what is
 * used of it is the same in all of them. Other warnings are shown.
 */
import type { DatabaseSync } from "node:sqlite";

const EXPERIMENTAL = "SQLite is an experimental feature";

const { DatabaseSync: Database } = withoutWarning(() =>
  process.getBuiltinModule("node:sqlite"),
);

export function openDatabase(file: string): DatabaseSync {
  return new Database(file);
}

function withoutWarning<T>(body: () => T): T {
  const warn = process.emitWarning.bind(process);
  process.emitWarning = (warning: string | Error, ...rest: unknown[]) => {
    if (String(warning).startsWith(EXPERIMENTAL)) return;
    Reflect.apply(warn, process, [warning, ...rest]);
  };
  try {
    return body();
  } finally {
    process.emitWarning = warn;
  }
}
