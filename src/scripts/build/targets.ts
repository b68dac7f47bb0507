/** What there is to build. */
import { bundleTarget } from "./bundle.ts";
import { docs } from "./docs.ts";
import { kernelTarget } from "./kernels.ts";
import { pagesTarget } from "./pages.ts";
import type { BuildTarget } from "./target.ts";

/** All kernels, for Node and Workers. */
const kernels = kernelTarget("kernels", "assembly/index.ts", "release");

/** Those of files alone, without relaxed SIMD: what the package and the playground have. */
const files = kernelTarget("kernels-files", "assembly/files.ts", "files");

/** Those that write text, without relaxed SIMD. */
const decode = kernelTarget("kernels-decode", "assembly/decode.ts", "decode");

/** What the Worker is served from on this machine; wrangler bundles its own to deploy. */
const worker = bundleTarget({
  name: "worker",
  config: "wrangler.toml",
  folder: "build/worker",
  needs: [kernels, decode],
});

export const BUILD_TARGETS = {
  kernels,
  "kernels-decode": decode,
  /** With assertions, and the text of the module. */
  "kernels-debug": kernelTarget("kernels-debug", "assembly/index.ts", "debug"),
  "kernels-files": files,
  docs,
  /** What stands at /: scripts, styles and the kernels that they load. */
  pages: pagesTarget(kernels, files),
  worker,
} as const satisfies Record<string, BuildTarget>;
