/** The product's Worker, and beside its routes one that passes the body through. Never deployed. */
import module from "../build/kernels.wasm";
import { app } from "../src/http/app.ts";
import type { Env } from "../src/http/env.ts";
import { loadKernels } from "../src/kernels/runtime.ts";

loadKernels(module);

export default {
  fetch(
    request: Request,
    env: Env,
    context: ExecutionContext,
  ): Response | Promise<Response> {
    if (new URL(request.url).pathname === "/passthrough")
      return new Response(request.body);
    return app.fetch(request, env, context);
  },
};
