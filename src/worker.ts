import kernelModule from "../build/kernels.wasm";
import { app } from "./http/app.ts";
import { loadKernels } from "./kernels/runtime.ts";

loadKernels(kernelModule);

export { Run } from "./objects/run.ts";
export { ParameterShard } from "./objects/parameter-shard.ts";
export { Job } from "./objects/job.ts";
export { Directory } from "./objects/directory.ts";
export { Trainer } from "./hosted/trainer-object.ts";

export default app;
