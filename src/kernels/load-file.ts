import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Kernels, loadKernels } from "./runtime.ts";

const BUILT = join(import.meta.dirname, "../../build/kernels.wasm");

/** Workers may not compile bytes, so their types declare no constructor; Node has it. */
const Module = WebAssembly.Module as unknown as new (
  bytes: Uint8Array,
) => WebAssembly.Module;

/** The kernels in Node, from the file that `npm run build` writes. A Worker imports it instead. */
export function loadKernelsFile(path = BUILT): Kernels {
  return loadKernels(new Module(readFileSync(path)));
}
