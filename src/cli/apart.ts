/** An output that is what is read, or holds it, would put an end to the only copy there is. */
import { existsSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { AppError } from "../api/errors.ts";

/** Errors: `file_exists` where `to` is the file or folder `from`, or a folder around it */
export function checkApart(from: string, to: string): void {
  const [source, target] = [realPath(from), realPath(to)];
  const isSame = source === target;
  if (!isSame && !source.startsWith(target + sep)) return;
  throw new AppError(
    "file_exists",
    `Expected an output outside the input, got ${to}, which ${isSame ? "is" : "contains"} ${from}`,
  );
}

/** Of what may not be there yet, by the folder that it is to be in. */
function realPath(path: string): string {
  const whole = resolve(path);
  const folder = dirname(whole);
  if (existsSync(whole)) return realpathSync(whole);
  return existsSync(folder)
    ? join(realpathSync(folder), basename(whole))
    : whole;
}
