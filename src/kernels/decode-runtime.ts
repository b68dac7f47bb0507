/** The kernels that write text: a second module on the same memory (assembly/decode.ts). */
import type { instantiate } from "../../build/kernels-decode.d.ts";
import { instantiateOn, kernels } from "./runtime.ts";

type DecodeExports = Awaited<ReturnType<typeof instantiate>>;

let loaded: DecodeExports | undefined;

/** Instantiate them, once an isolate, after the others; a second call changes nothing. */
export function loadDecodeKernels(module: WebAssembly.Module): void {
  loaded ??= instantiateOn<DecodeExports>(module, kernels().arena.memory);
}

/** Those of this isolate. */
export function decodeKernels(): DecodeExports {
  if (!loaded)
    throw new Error("Expected `loadDecodeKernels` to have run first");
  return loaded;
}
