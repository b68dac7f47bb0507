/** `npm run clean`: remove what the commands made, runs and corpora included. */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { endStale, lock } from "./processes.ts";

const ROOT = join(import.meta.dirname, "../..");
const STATE_FOLDER = join(ROOT, ".mxfp4-edge");

if (existsSync(STATE_FOLDER)) {
  endStale(STATE_FOLDER);
  lock(STATE_FOLDER); // goes with the folder
}
for (const folder of [STATE_FOLDER, join(ROOT, "build")]) {
  rmSync(folder, { recursive: true, force: true });
  console.log(`removed ${folder}`);
}
