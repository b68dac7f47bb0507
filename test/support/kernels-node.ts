/** Loads the kernels inside Node: import it for its effect. */
import { readFileSync } from "node:fs";
import { loadKernels } from "../../src/kernels/runtime.ts";

const path = new URL("../../build/kernels.wasm", import.meta.url);
export const { exports, arena } = loadKernels(
  new WebAssembly.Module(readFileSync(path)),
);
