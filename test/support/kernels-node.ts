/** Loads the kernels inside Node: import it for its effect. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadKernels } from "../../src/kernels/runtime.ts";

// A Worker never compiles, so the Worker's types leave this constructor out.
const Module = WebAssembly.Module as unknown as new (
  bytes: Uint8Array,
) => WebAssembly.Module;
const path = join(import.meta.dirname, "../../build/kernels.wasm");
export const { arena } = loadKernels(new Module(readFileSync(path)));
