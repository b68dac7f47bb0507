/** What the machine refuses, said as everything else is: what was expected, and what came. */

const EXPECTED: Readonly<Record<string, string>> = {
  ENOSPC: "room on the disk for what is written",
  EDQUOT: "room in the quota for what is written",
  EFBIG: "a disk that takes a file as large",
  EROFS: "a place that can be written to",
  EACCES: "a file that may be read, or a place that may be written to",
  EPERM: "a file that may be read, or a place that may be written to",
  EMFILE: "fewer open files than the machine allows",
  EIO: "a disk that reads and writes",
};

export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, path, message } = error as NodeJS.ErrnoException;
  const expected = EXPECTED[code ?? ""];
  if (expected === undefined) return message;
  return `Expected ${expected}, got ${path ?? "none"} (${message})`;
}
