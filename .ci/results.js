/**
 * What runs of the tests have written (test/support/file-results.ts): `failed RESULTS` prints the files that failed, one a
 * line, if they are all that failed; `count STATUS RESULTS…` prints "N passed, N failed", where what a later run tells of a
 * file replaces what an earlier one told, and STATUS is the last one's exit code.
 */
import { existsSync, readFileSync } from "node:fs";

/** Of a run that broke off there are none. */
function resultsOf(path) {
  if (!existsSync(path)) return { unhandledErrors: 0, files: {} };
  return JSON.parse(readFileSync(path, "utf8"));
}

function failed(path) {
  const { unhandledErrors, files } = resultsOf(path);
  if (unhandledErrors > 0) return;
  for (const [name, { isOk }] of Object.entries(files))
    if (!isOk) console.log(name);
}

function count(status, ...paths) {
  const files = Object.assign(
    {},
    ...paths.map((path) => resultsOf(path).files),
  );
  let passed = 0;
  let failures = 0;
  for (const each of Object.values(files)) {
    passed += each.passed;
    failures += each.failed;
  }
  // A run that broke off, or a file that did not load, is a failure without a failed test.
  if (status !== "0") failures ||= 1;
  console.log(`${passed} passed, ${failures} failed`);
}

const [command, ...args] = process.argv.slice(2);
({ failed, count })[command](...args);
