import { availableParallelism } from "node:os";
import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";
import { fileResults } from "./test/support/file-results.ts";

const { TEST_RESULTS } = process.env;

/** What is polled for may take its time on a machine that does other things: vitest gives up after a second. */
const PATIENCE = { expect: { poll: { timeout: 60_000 } } };

/** Tests of these only compute: nothing that one file leaves is seen by the next. */
const COMPUTES = "{api,client,formats,generation,kernels,library,model}";

/** Tests inside the real runtime. Starting one takes longer than most of what is tested in it. */
function inWorkerd(
  name: string,
  test: { include: string[]; exclude?: string[]; isolate: boolean },
) {
  return {
    plugins: [
      cloudflareTest({
        wrangler: { configPath: "./wrangler.toml" },
        miniflare: { bindings: { LOCAL_MODE: "1", REQUEST_LOG: "" } },
      }),
    ],
    test: {
      name,
      ...test,
      testTimeout: 120_000,
      hookTimeout: 120_000,
      ...PATIENCE,
      deps: {
        // itty-durable's ES modules import each other without extensions.
        optimizer: { ssr: { enabled: true, include: ["itty-durable"] } },
      },
    },
  };
}

// `node`: the command line, the client and the checks of the tree itself. `workerd`: everything that runs in the Worker, a
// runtime for each file; `kernels`: what computes there, in one for all files.
export default defineConfig({
  test: {
    globalSetup: "test/support/build.ts",
    // A fifth of a file's time goes by with nothing to do: one more than there are cores keeps them busy.
    maxWorkers: availableParallelism() + 1,
    reporters: TEST_RESULTS
      ? ["default", fileResults(TEST_RESULTS)]
      : ["default"],
    projects: [
      inWorkerd("kernels", {
        include: [`test/${COMPUTES}/**/*.test.ts`],
        isolate: false,
      }),
      inWorkerd("workerd", {
        include: ["test/**/*.test.ts"],
        exclude: ["test/node/**", `test/${COMPUTES}/**`],
        isolate: true,
      }),
      {
        test: {
          name: "node",
          include: ["test/node/**/*.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          ...PATIENCE,
        },
      },
    ],
  },
});
