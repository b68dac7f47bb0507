import { env } from "cloudflare:workers";
import decodeModule from "../build/kernels-decode.wasm";
import kernelModule from "../build/kernels.wasm";
import { app } from "./http/app.ts";
import type { Env } from "./http/env.ts";
import { loadDecodeKernels } from "./kernels/decode-runtime.ts";
import { loadKernels } from "./kernels/runtime.ts";
import { isolateMemory, limitsOf } from "./memory/ledger.ts";

const { arena } = loadKernels(kernelModule);
loadDecodeKernels(decodeModule);
const { ISOLATE_MIB } = env as Env;
if (ISOLATE_MIB !== undefined)
  isolateMemory.limit(limitsOf(Number(ISOLATE_MIB)));
isolateMemory.countFixed(() => arena.memory.buffer.byteLength);

export { Run } from "./objects/run/run.ts";
export { ParameterShard } from "./objects/shard/parameter-shard.ts";
export { Subtree } from "./objects/shard/subtree.ts";
export { Job } from "./objects/job/job.ts";
export { Tokenization } from "./objects/tokenization/tokenization.ts";
export { Directory } from "./objects/directory/directory.ts";
export { Trainer } from "./hosted/trainer-object.ts";

/** The same where no pages are looked for first: trainers of a local edge, which send much, ask here. */
export const api = { fetch: app.fetch };

export default app;
