/** Loads the kernels inside workerd: import it for its effect. */
import module from "../../build/kernels.wasm";
import { loadKernels } from "../../src/kernels/runtime.ts";

export const { exports, arena } = loadKernels(module);
