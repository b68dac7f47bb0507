/** Loads the kernels inside workerd: import it for its effect. */
import decodeModule from "../../build/kernels-decode.wasm";
import module from "../../build/kernels.wasm";
import { loadDecodeKernels } from "../../src/kernels/decode-runtime.ts";
import { loadKernels } from "../../src/kernels/runtime.ts";

export const { exports, arena } = loadKernels(module);
loadDecodeKernels(decodeModule);
