/** `npm run mxfp4-edge`: the command of src/cli, on kernels that are as their sources say. */
import { endWithNpm } from "../local/npm-parent.ts";
import { ensureBuilt } from "./build/target.ts";

endWithNpm();

const [command = "-", ...rest] = process.argv.slice(2);
const onlyTells = [command, ...rest].some((arg) =>
  ["-h", "--help", "--version"].includes(arg),
);
if (!onlyTells && !command.startsWith("-")) {
  const { BUILD_TARGETS } = await import("./build/targets.ts");
  await ensureBuilt(BUILD_TARGETS.kernels, BUILD_TARGETS["kernels-decode"]);
}
await import("../cli/main.ts");
