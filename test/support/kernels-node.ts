/** Loads the kernels inside Node: import it for its effect. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadDecodeKernels } from "../../src/kernels/decode-runtime.ts";
import { loadKernels } from "../../src/kernels/runtime.ts";

// A Worker never compiles, so the Worker's types leave this constructor out.
const Module = WebAssembly.Module as unknown as new (
  bytes: Uint8Array,
) => WebAssembly.Module;
const compiled = (name: string) =>
  new Module(readFileSync(join(import.meta.dirname, "../../build", name)));
export const { arena } = loadKernels(compiled("kernels.wasm"));
loadDecodeKernels(compiled("kernels-decode.wasm"));
