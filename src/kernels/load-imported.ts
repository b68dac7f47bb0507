import { type Kernels, loadKernels } from "./runtime.ts";

/** The types for Workers do not declare `compile`, which Workers may not call. */
const Compiler = WebAssembly as unknown as {
  compile(bytes: Uint8Array): Promise<WebAssembly.Module>;
};

/**
 * Loads the kernels from the value of `import "kernels.wasm"`: a compiled module in Workers, its bytes if a bundler
 * embedded them.
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
