/**
 * The bench Worker: so many iterations of one benchmark a request. A Worker's clock stands still while
 * it computes, so whoever asks takes the time; a request for none costs all but the iterations.
 */
import module from "../build/kernels.wasm";
import { loadKernels } from "../src/kernels/runtime.ts";
import { kernelBenchmark } from "./kernel-benchmarks.ts";
import { chooseVariant, type Variant } from "./variant.ts";

const kernels = loadKernels(module);

export default {
  fetch(request: Request, env: { VARIANT?: Variant }): Response {
    chooseVariant(kernels, env.VARIANT);
    const query = new URL(request.url).searchParams;
    const { setup } = kernelBenchmark(query.get("name") ?? "");
    kernels.arena.scope(() => {
      const iterate = setup();
      for (let left = Number(query.get("iterations")); left > 0; left--) {
        iterate();
      }
    });
    return new Response();
  },
};
