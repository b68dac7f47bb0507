import type { instantiate } from "../../build/kernels.d.ts";
import { Arena } from "./arena.ts";
import { DryArena } from "./dry-arena.ts";

/** What `assembly/index.ts` exports, as its compiler describes it. Pointers are byte addresses. */
type KernelExports = Awaited<ReturnType<typeof instantiate>>;

/** The kernels of this isolate and the one memory they work on. */
export type Kernels = { exports: KernelExports; arena: Arena };

/**
 * Up to here lie the tables of modules: those of the kernels in the first 16 KiB, those of the kernels that write
 * text from there on (asconfig.json).
 */
const TABLES_END = 20 * 1024;

let loaded: Kernels | undefined;

/**
 * Instantiate the kernels, once an isolate; a second call changes nothing, because a fresh memory
 * would never be given back to the system. The host passes the compiled module: a Worker imports
 * it, Node reads the file.
 */
export function loadKernels(module: WebAssembly.Module): Kernels {
  if (loaded) return loaded;
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 16384 });
  const exports = instantiateOn<KernelExports>(module, memory);
  loaded = { exports, arena: new Arena(memory, TABLES_END) };
  return loaded;
}

/** A module that takes its memory from its host. */
export function instantiateOn<Exports extends { heapBase(): number }>(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
): Exports {
  const { exports } = new WebAssembly.Instance(module, {
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
  const own = exports as unknown as Exports;
  if (own.heapBase() > TABLES_END)
    throw new Error(
      `Expected a module's tables to end at ${TABLES_END}, got ${own.heapBase()}`,
    );
  return own;
}

/** The kernels of this isolate. */
export function kernels(): Kernels {
  if (!loaded) throw new Error("Expected `loadKernels` to have run first");
  return loaded;
}

/** What sizes of buffers are computed from; all other kernels write to buffers. */
const SIZES: ReadonlySet<keyof KernelExports> = new Set([
  "attentionScratchBytes",
]);

/**
 * The bytes that `body` takes of the arena at most, all at one time. It runs on kernels that compute
 * nothing and an arena without memory, so what is counted is what allocates, and it costs next to nothing.
 */
export function dryRun(body: () => void): number {
  const real = kernels();
  const arena = new DryArena();
  const exports = Object.fromEntries(
    Object.entries(real.exports).map(([name, kernel]) => [
      name,
      SIZES.has(name as keyof KernelExports) ? kernel : () => 0,
    ]),
  ) as unknown as KernelExports;
  loaded = { exports, arena };
  try {
    return arena.measure(body);
  } finally {
    loaded = real;
  }
}
