/** The kernels that lie beside the pages. */
import { loadImported } from "../../kernels/load-imported.ts";

/** What each build asks of a browser, and who has it. */
const BUILDS = {
  /** The quantizers, which run in browsers of some years. */
  "kernels-files.wasm":
    "WebAssembly SIMD, as Chromium has since 91, Firefox since 89 and Safari since 16.4",
  /** All of them: the bytes that the Worker of this server has. */
  "kernels.wasm":
    "WebAssembly's relaxed SIMD, as Chromium has since 114 and Firefox since 145; `mxfp4-edge join` trains without a browser",
};

/** Workers' types declare no `validate`. */
const { validate } = WebAssembly as unknown as {
  validate: (this: void, bytes: Uint8Array) => boolean;
};

/** Errors: a browser that cannot run them, with what it lacks */
export async function loadKernelsHere(
  build: keyof typeof BUILDS,
): Promise<void> {
  const response = await fetch(`/pages/${build}`);
  if (!response.ok)
    throw new Error(`Expected the kernels, got status ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!validate(bytes))
    throw new Error(
      `Expected a browser with ${BUILDS[build]}, got one without`,
    );
  await loadImported(bytes);
}
