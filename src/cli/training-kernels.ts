/** The kernels that compute microbatches, in this process or thread. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { loadKernelsFile } from "../kernels/load-file.ts";

/** Beside the package's kernels, which are those of files alone. */
const PACKAGED = join(import.meta.dirname, "../../build/kernels-training.wasm");

export function loadTrainingKernels(): void {
  loadKernelsFile(existsSync(PACKAGED) ? PACKAGED : undefined);
}
