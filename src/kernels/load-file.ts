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

/** Workers may not compile bytes, so their types declare no constructor; Node has it. */
const Module = WebAssembly.Module as unknown as new (
  bytes: Uint8Array,
) => WebAssembly.Module;

/**
 * V8 can take two vectors of 128 bits side by side as one of 256: the same results, lane by lane, in half the
 * instructions (docs/kernels.md). It is an experiment of V8, so only the version is told to whose bytes the tests have
 * seen; workerd's is built without it.
 */
export const PAIRS_VECTORS =
  process.arch === "x64" && process.versions.v8.startsWith("13.6.");

/**
 * The kernels in Node, from the file that `npm run build` writes. A Worker imports it instead. V8 has to be told before it
 * compiles them.
 */
export function loadKernelsFile(path = BUILT, isWide = PAIRS_VECTORS): Kernels {
  if (isWide) setFlagsFromString("--experimental-wasm-revectorize");
  const kernels = loadKernels(new Module(readFileSync(path)));
  kernels.exports.useWideVectors?.(Number(isWide));
  return kernels;
}

/**
 * By how much a heap may outgrow what lives on it before V8 collects. A trainer frees its frames itself, but what the
 * network makes of them on their way, three times their bytes, V8 counts until it collects; beside a heap of some 11 MB
 * that is a collection a step, which takes half as long as the step's microbatches of a small model.
 */
const HEAP_GROWTH_PERCENT = 400;

/** All kernels, where those above are of files alone: a package has both, since Node 20 lacks relaxed SIMD. */
export function loadTrainingKernels(): Kernels {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
  return loadKernelsFile(existsSync(TRAINING) ? TRAINING : BUILT);
}

/** The kernels that write text, after the others. */
export function loadDecodeFile(): void {
  loadDecodeKernels(new Module(readFileSync(BUILT_DECODE)));
}
