/** Rephrases system errors like all others: what was expected, and what came. */
import { stripVTControlCharacters } from "node:util";

const EXPECTED: Readonly<Record<string, string>> = {
  ENOSPC: "free disk space for the output",
  EDQUOT: "disk quota left for the output",
  EFBIG: "a file system that allows files this large",
  EROFS: "a writable file system",
  EACCES: "permission to read or write",
  EPERM: "permission to read or write",
  EMFILE: "fewer open files than the machine allows",
  EIO: "a disk without errors",
  EPIPE: "a reader of the whole output",
  ENAMETOOLONG: "a shorter file name",
  ELOOP: "links that do not form a loop",
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

/** citty's error messages. */
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

/** citty colours parts of its messages. */
function refusalOf(coloured: string): string {
  const message = stripVTControlCharacters(coloured);
  for (const [pattern, words] of REFUSALS) {
    const [whole, ...parts] = pattern.exec(message) ?? [];
    if (whole !== undefined) return words(...parts);
  }
  return message;
}

/** Ends the process if the reader of its output closes the pipe, as `| head` does. */
export function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error) => {
      if (stream === process.stdout) console.error(explained(error));
      process.exit(1);
    });
}
