/** Prevents overwriting the input: the output must not be, or contain, what is read. */
import { existsSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { AppError } from "../api/errors.ts";

/** Errors: `file_exists` if `to` is the file or folder `from`, or contains it */
export function checkApart(from: string, to: string): void {
  const [source, target] = [realPath(from), realPath(to)];
  const isSame = source === target;
  if (!isSame && !source.startsWith(target + sep)) return;
  throw new AppError(
    "file_exists",
    `Expected an output outside the input, got ${to}, which ${isSame ? "is" : "contains"} ${from}`,
  );
}

/** The real path, also of a file that does not exist yet, by its folder. */
function realPath(path: string): string {
  const whole = resolve(path);
  const folder = dirname(whole);
  if (existsSync(whole)) return realpathSync(whole);
  return existsSync(folder)
    ? join(realpathSync(folder), basename(whole))
    : whole;
}
