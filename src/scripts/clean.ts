/** `npm run clean`: remove what the commands made, runs and corpora included. */
import { existsSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { lockFolder } from "../local/lock.ts";
import { endStale } from "../local/processes.ts";
import { runScript } from "./script.ts";

const ROOT = join(import.meta.dirname, "../..");
const STATE_FOLDER = join(ROOT, ".mxfp4-edge");

await runScript({
  meta: {
    name: "npm run clean --",
    description: "Remove what the commands made: builds, runs, corpora",
  },
  args: {},
  async run() {
    for (const folder of servedFolders()) {
      await lockFolder(folder);
      await endStale(folder);
    }
    for (const folder of [STATE_FOLDER, join(ROOT, "build")]) {
      rmSync(folder, { recursive: true, force: true });
      console.log(`removed ${folder}`);
    }
  },
});

/** The state folders from which an edge serves, or has served: `npm run train` has one of its own. */
function servedFolders(): string[] {
  if (!existsSync(STATE_FOLDER)) return [];
  return readdirSync(STATE_FOLDER, { recursive: true, encoding: "utf8" })
    .filter((path) => /(^|[\\/])pids$/.test(path))
    .map((path) => dirname(join(STATE_FOLDER, path)));
}
