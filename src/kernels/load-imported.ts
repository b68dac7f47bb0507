import { type Kernels, loadKernels } from "./runtime.ts";

/** Workers' types declare no `compile`, which they may not call; everyone else has it. */
const Compiler = WebAssembly as unknown as {
  compile(bytes: Uint8Array): Promise<WebAssembly.Module>;
};

/**
 * The kernels from what `import "kernels.wasm"` gave: a compiled module in Workers, and its bytes where
 * a bundler embedded them.
 */
export async function loadImported(
  imported: WebAssembly.Module | Uint8Array,
): Promise<Kernels> {
  return loadKernels(
    imported instanceof Uint8Array
      ? await Compiler.compile(imported)
      : imported,
  );
}
