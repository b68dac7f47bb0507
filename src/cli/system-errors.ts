/** What the machine refuses, said as everything else is: what was expected, and what came. */
import { stripVTControlCharacters } from "node:util";

const EXPECTED: Readonly<Record<string, string>> = {
  ENOSPC: "room on the disk for what is written",
  EDQUOT: "room in the quota for what is written",
  EFBIG: "a disk that takes a file as large",
  EROFS: "a place that can be written to",
  EACCES: "a file that may be read, or a place that may be written to",
  EPERM: "a file that may be read, or a place that may be written to",
  EMFILE: "fewer open files than the machine allows",
  EIO: "a disk that reads and writes",
  EPIPE: "a reader that takes all that is written",
  ENAMETOOLONG: "a name as short as the file system wants it",
  ELOOP: "a link that leads to something",
  ENOTEMPTY: "an empty folder, or none",
  ENOTDIR: "a folder",
  EISDIR: "a file",
};

export function explained(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "CLIError") return refusalOf(error.message);
  const { code, path, message } = error as NodeJS.ErrnoException;
  const expected = EXPECTED[code ?? ""];
  if (expected === undefined) return message;
  return `Expected ${expected}, got ${path ?? "none"} (${message})`;
}

/** What citty refuses of a call. */
const REFUSALS: readonly [RegExp, (...parts: string[]) => string][] = [
  [
    /^Missing required positional argument: (.+)$/,
    (name) => `Expected <${name!.toLowerCase()}>, got none`,
  ],
  [
    /^Missing required argument: (.+)$/,
    (option) => `Expected ${option}, got none`,
  ],
  [
    /^Invalid value for argument: (\S+) \((.*)\)\. Expected one of: (.*)\.$/s,
    (option, value, values) =>
      `Expected ${option} to be one of ${values}, got "${value}"`,
  ],
];

/** It colours its own words. */
function refusalOf(coloured: string): string {
  const message = stripVTControlCharacters(coloured);
  for (const [pattern, words] of REFUSALS) {
    const [whole, ...parts] = pattern.exec(message) ?? [];
    if (whole !== undefined) return words(...parts);
  }
  return message;
}

/** Who reads what is printed may leave, as `| head` does: that ends the process, and is no fault of it. */
export function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error) => {
      if (stream === process.stdout) console.error(explained(error));
      process.exit(1);
    });
}
