/** The programs of node_modules, each by this very Node. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./build/target.ts";

/** Runs it in the terminal of this process; returns its exit code. */
export async function runTool(
  name: string,
  args: readonly string[],
): Promise<number> {
  const folder = join(ROOT, "node_modules", name);
  const { bin } = JSON.parse(
    readFileSync(join(folder, "package.json"), "utf8"),
  ) as { bin: string | Record<string, string> };
  const file = typeof bin === "string" ? bin : bin[PROGRAMS[name] ?? name]!;
  const child = spawn(process.execPath, [join(folder, file), ...args], {
    cwd: ROOT,
    stdio: "inherit",
  });
  // A signal from the terminal reaches the program too, which decides; others are passed on.
  const passOn = (signal: NodeJS.Signals) => child.kill(signal);
  process.on("SIGINT", passOn).on("SIGTERM", passOn).on("SIGHUP", passOn);
  const [code] = (await once(child, "close")) as [number | null];
  return code ?? 1;
}

/** Where the program is not named as its package. */
const PROGRAMS: Record<string, string> = { typescript: "tsc" };
