/** The kernels that lie beside the pages: the bytes that the Worker of this server has. */
import { loadImported } from "../../kernels/load-imported.ts";

export async function loadKernelsHere(): Promise<void> {
  const response = await fetch("/pages/kernels.wasm");
  if (!response.ok)
    throw new Error(`Expected the kernels, got status ${response.status}`);
  await loadImported(new Uint8Array(await response.arrayBuffer()));
}
