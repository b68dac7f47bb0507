import type { instantiate } from "../../build/kernels.d.ts";
import { Arena } from "./arena.ts";

/** What `assembly/index.ts` exports, as its compiler describes it. Pointers are byte addresses. */
export type KernelExports = Awaited<ReturnType<typeof instantiate>>;

/** The kernels of this isolate and the one memory they work on. */
export type Kernels = { exports: KernelExports; arena: Arena };

let loaded: Kernels | undefined;

/**
 * Instantiate the kernels, once an isolate; a second call changes nothing, because a fresh memory
 * would never be given back to the system. The host passes the compiled module: a Worker imports
 * it, Node reads the file.
 */
export function loadKernels(module: WebAssembly.Module): Kernels {
  if (loaded) return loaded;
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 16384 });
  const instance = new WebAssembly.Instance(module, {
    env: {
      memory,
      abort: (
        _message: number,
        _file: number,
        line: number,
        column: number,
      ) => {
        throw new Error(
          `A kernel's assertion failed at line ${line}:${column}`,
        );
      },
    },
  });
  const exports = instance.exports as unknown as KernelExports;
  loaded = { exports, arena: new Arena(memory, exports.heapBase()) };
  return loaded;
}

/** The kernels of this isolate. */
export function kernels(): Kernels {
  if (!loaded) throw new Error("Expected `loadKernels` to have run first");
  return loaded;
}
