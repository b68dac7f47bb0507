/** The kernels of text generation: a second module on the same memory (assembly/decode.ts). */
import type { instantiate } from "../../build/kernels-decode.d.ts";
import { instantiateOn, kernels } from "./runtime.ts";

type DecodeExports = Awaited<ReturnType<typeof instantiate>>;

let loaded: DecodeExports | undefined;

/** Instantiates them, once per isolate, after `loadKernels`. Idempotent. */
export function loadDecodeKernels(module: WebAssembly.Module): void {
  loaded ??= instantiateOn<DecodeExports>(module, kernels().arena.memory);
}

/** The text-generation kernels of this isolate. */
export function decodeKernels(): DecodeExports {
  if (!loaded)
    throw new Error("Expected `loadDecodeKernels` to have run first");
  return loaded;
}
