/**
 * node:sqlite without its warning. The older of the supported Nodes call it experimental, on stderr, when
 * it is loaded; what is used of it is the same in all of them. Other warnings come through.
 */
import type { DatabaseSync } from "node:sqlite";

const EXPERIMENTAL = "SQLite is an experimental feature";

export function openDatabase(file: string): DatabaseSync {
  const { DatabaseSync: Database } = withoutWarning(() =>
    process.getBuiltinModule("node:sqlite"),
  );
  return new Database(file);
}

function withoutWarning<T>(body: () => T): T {
  const { emitWarning } = process;
  process.emitWarning = (warning: string | Error, ...rest: unknown[]) => {
    if (String(warning).startsWith(EXPERIMENTAL)) return;
    Reflect.apply(emitWarning, process, [warning, ...rest]);
  };
  try {
    return body();
  } finally {
    process.emitWarning = emitWarning;
  }
}
