/** What the command makes of a directory, which a job makes of a folder. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JobOperation } from "../../src/api/tensors.ts";
import { readFolder } from "../../src/checkpoints/read-heads.ts";
import { convertDirectory } from "../../src/cli/convert-directory.ts";
import { quantizeDirectory } from "../../src/cli/quantize-directory.ts";
import { localFolder } from "../../src/cli/ranged-files.ts";

export async function command(
  from: string,
  to: string,
  request: JobOperation,
): Promise<void> {
  const paths = { from, to, force: false };
  if (request.operation === "quantize") {
    const options = request.options ?? {};
    const how = { asJson: false, withFigures: false, options };
    await quantizeDirectory({ ...paths, ...how });
  } else if (request.operation === "analyze") {
    const { for: loader, compare, rotate, seed } = request.options ?? {};
    const args = [
      ...(loader ? ["--for", loader] : []),
      ...(compare ? ["--compare", compare.join(",")] : []),
      ...(rotate ? ["--rotate", rotate, "--seed", `${seed}`] : []),
    ];
    writeFileSync(to, analyzeCommand(from, "--json", ...args));
  } else if (request.operation !== "hadamard") {
    const checkpoint = await readFolder(localFolder(from));
    await convertDirectory({ ...paths, checkpoint, request });
  }
}

export function analyzeCommand(...args: string[]): string {
  const main = join(import.meta.dirname, "../../src/cli/main.ts");
  return execFileSync(process.execPath, [main, "analyze", ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
}
