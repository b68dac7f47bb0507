/** `npm run mxfp4-edge`: the command of src/cli, on kernels that are as their sources say. */
import { ensureBuilt } from "./build/target.ts";
import { TARGETS } from "./build/targets.ts";

const asksForHelp = process.argv
  .slice(2)
  .some((arg) => ["-h", "--help", "--version"].includes(arg));
if (!asksForHelp) await ensureBuilt(TARGETS.kernels);
await import("../cli/main.ts");
