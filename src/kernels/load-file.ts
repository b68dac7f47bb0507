import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { loadDecodeKernels } from "./decode-runtime.ts";
import { type Kernels, loadKernels } from "./runtime.ts";

const BUILT = join(import.meta.dirname, "../../build/kernels.wasm");
const TRAINING = join(import.meta.dirname, "../../build/kernels-training.wasm");
const BUILT_DECODE = join(
  import.meta.dirname,
  "../../build/kernels-decode.wasm",
);

/** The types for Workers declare no constructor, since Workers may not compile bytes; Node has it. */
const Module = WebAssembly.Module as unknown as new (
  bytes: Uint8Array,
) => WebAssembly.Module;

/**
 * Whether to let V8 merge adjacent 128-bit vectors into 256-bit ones: the same results in half the instructions
 * (docs/kernels.md). The flag is experimental, so it is only set for the V8 version whose results the tests have
 * checked; workerd is built without it.
 */
export const PAIRS_VECTORS =
  process.arch === "x64" && process.versions.v8.startsWith("13.6.");

/**
 * Loads the kernels in Node from the file that `npm run build` writes; a Worker imports it instead. The V8 flag must
 * be set before compilation.
 */
export function loadKernelsFile(path = BUILT, isWide = PAIRS_VECTORS): Kernels {
  if (isWide) setFlagsFromString("--experimental-wasm-revectorize");
  const kernels = loadKernels(new Module(readFileSync(path)));
  kernels.exports.useWideVectors?.(Number(isWide));
  return kernels;
}

/**
 * How much the heap may grow beyond live objects before V8 collects garbage. A trainer frees its frames itself, but
 * V8 counts the network's copies, three times their size, until it collects. With a heap of some 11 MB that would
 * mean a collection per step, which takes half as long as the step's microbatches of a small model.
 */
const HEAP_GROWTH_PERCENT = 400;

/** Loads all kernels; the package's `kernels.wasm` only has those for files, since Node 20 lacks relaxed SIMD. */
export function loadTrainingKernels(): Kernels {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
  return loadKernelsFile(existsSync(TRAINING) ? TRAINING : BUILT);
}

/** Loads the kernels of text generation, after the others. */
export function loadDecodeFile(): void {
  loadDecodeKernels(new Module(readFileSync(BUILT_DECODE)));
}
