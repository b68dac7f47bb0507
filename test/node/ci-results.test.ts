/** What `.ci/run` makes of the results of its runs: which files are tried again, and what is counted. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { FileResults } from "../support/file-results.ts";

const RESULTS = resolve(import.meta.dirname, "../../.ci/results.js");
const FINE = { isOk: true, passed: 3, failed: 0 };
const HALF = { isOk: false, passed: 1, failed: 2 };
const NOT_LOADED = { isOk: false, passed: 0, failed: 0 };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-ci-results-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function write(name: string, files: FileResults["files"], unhandledErrors = 0) {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify({ unhandledErrors, files }));
  return path;
}

function tell(...args: string[]): string {
  return execFileSync(process.execPath, [RESULTS, ...args], {
    encoding: "utf8",
  }).trim();
}

test("files that failed, or did not load, are named, unless there were errors of none", () => {
  const files = {
    "a.test.ts": HALF,
    "b.test.ts": FINE,
    "c.test.ts": NOT_LOADED,
  };
  expect(tell("failed", write("first", files))).toBe("a.test.ts\nc.test.ts");
  expect(tell("failed", write("first", files, 1))).toBe("");
  expect(tell("failed", join(folder, "of-no-run"))).toBe("");
});

test("a second run's files count instead of the first's; what failed without a test is one failure", () => {
  const first = write("first", { "a.test.ts": HALF, "b.test.ts": FINE });
  const none = join(folder, "of-no-run");
  expect(tell("count", "1", first, none)).toBe("4 passed, 2 failed");
  const second = write("second", { "a.test.ts": FINE });
  expect(tell("count", "0", first, second)).toBe("6 passed, 0 failed");
  const broken = write("second", { "a.test.ts": NOT_LOADED });
  expect(tell("count", "1", first, broken)).toBe("3 passed, 1 failed");
  expect(tell("count", "124", none, none)).toBe("0 passed, 1 failed");
});
