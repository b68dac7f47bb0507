/** Loads the kernels served with the pages. */
import { BUILDS, isRunnable } from "../../kernels/builds.ts";
import { loadImported } from "../../kernels/load-imported.ts";

/** Errors: a browser that lacks a feature, which is named */
export async function loadKernelsHere(
  build: keyof typeof BUILDS,
): Promise<void> {
  const response = await fetch(`/pages/${build}`);
  if (!response.ok)
    throw new Error(`Expected the kernels, got status ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!isRunnable(bytes))
    throw new Error(
      `Expected a browser with ${BUILDS[build]}, got one without`,
    );
  await loadImported(bytes);
}
