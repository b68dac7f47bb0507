/** A reporter for `.ci/run`: how many tests of each file passed and failed, and how many errors were nobody's. */
import { writeFileSync } from "node:fs";
import type { Reporter } from "vitest/node";

export type FileResults = {
  /** Such as of a promise that nobody awaits. */
  unhandledErrors: number;
  /** `isOk` is false of a file that did not load, too. */
  files: Record<string, { isOk: boolean; passed: number; failed: number }>;
};

export function fileResults(path: string): Reporter {
  return {
    onTestRunEnd(modules, errors) {
      const results: FileResults = {
        unhandledErrors: errors.length,
        files: Object.fromEntries(
          modules.map((module) => {
            const { children } = module;
            const passed = [...children.allTests("passed")].length;
            const failed = [...children.allTests("failed")].length;
            return [
              module.relativeModuleId,
              { isOk: module.ok(), passed, failed },
            ];
          }),
        ),
      };
      writeFileSync(path, JSON.stringify(results));
    },
  };
}
