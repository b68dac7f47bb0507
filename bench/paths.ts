/** The files that `npm run bench` reads and writes. What is wrong with them is known before it measures. */
import { messageOf } from "../src/api/errors.ts";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { ROOT } from "../src/scripts/build/target.ts";
import { BENCH_MARKS, checkMarks } from "./markdown-page.ts";
import type { Asked } from "./options.ts";
import type { Report } from "./result.ts";

/** What was measured last, whatever came of it afterwards. */
const KEPT = join(ROOT, "build/bench/last.json");

/** Throws on a path that cannot be what its option says. */
export function checkPaths({ from, json, markdown }: Asked): void {
  if (from !== undefined) readReport(from);
  if (json !== undefined) checkWritable("json", json);
  if (markdown !== undefined) {
    if (!isFile(markdown)) {
      throw new Error(`Expected --markdown to be a page, got ${markdown}`);
    }
    checkWritable("markdown", markdown);
    checkMarks(markdown, readFileSync(markdown, "utf8"), BENCH_MARKS);
  }
}

/** What `--json` wrote. */
export function readReport(file: string): Report {
  if (!isFile(file)) {
    throw new Error(`Expected --from to be a file, got ${file}`);
  }
  const report = parsed(readFileSync(file, "utf8"));
  const { machine, results } = (report ?? {}) as Partial<Report>;
  const isReport =
    typeof machine === "object" &&
    Array.isArray(results) &&
    results.every(
      (each) =>
        typeof each?.name === "string" &&
        typeof each.value === "number" &&
        Array.isArray(each.samples),
    );
  if (!isReport) {
    throw new Error(
      `Expected --from to be what --json wrote, machine and results, got ${file}`,
    );
  }
  return report as Report;
}

/** Results so far, so that nothing that comes after them can lose them. */
export function keepReport(report: Report): void {
  mkdirSync(dirname(KEPT), { recursive: true });
  writeFileSync(KEPT, JSON.stringify(report));
}

/** Runs what shows or writes a report; if it fails, says where the results are. */
export async function withKept(use: () => Promise<void>): Promise<void> {
  try {
    await use();
  } catch (error) {
    const kept = relative(process.cwd(), KEPT);
    const reason = messageOf(error);
    throw new Error(
      `${reason}\nNothing is lost: \`npm run bench -- --from ${kept}\` has the results`,
      { cause: error },
    );
  }
}

function checkWritable(option: string, path: string): void {
  const folder = dirname(resolve(path));
  const isThere = existsSync(path);
  try {
    if (isThere && !isFile(path)) throw new Error("not a file");
    accessSync(isThere ? path : folder, constants.W_OK);
  } catch (error) {
    throw new Error(
      `Expected --${option} to be a file that can be written, got ${path}`,
      { cause: error },
    );
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // no JSON is no report either
  }
}
